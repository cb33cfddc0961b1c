"""What a control that cannot hold is refused with: the field and what it must be, as an operator would say it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.controls import InvalidControl, make_control, parse_control


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"max_position_dollars": "plenty"}, "max_position_dollars must be a number, not a text"),
        ({"max_position_dollars": -5}, "max_position_dollars must be a number >= 0.0"),
        ({"lot_shares": 0}, "lot_shares must be a number > 0.0"),
        ({"lot_shares": None}, "lot_shares must be a number, not empty"),
        ({"max_loss_dollars": "no"}, "max_loss_dollars must be a number or empty, not a text"),
        ({"allow_short": 3}, "allow_short must be true or false, not a whole number"),
        ({"state": "PAUSED"}, "state: Invalid enum value 'PAUSED'"),
        ({"lot_shares": 0.5, "size_step": 1.0}, "lot_shares must be at least one size_step"),
        ({"effective_from": 1 << 63}, "effective_from must be a whole number <= 9223372036854775807"),
    ],
)
def test_refusal_names_the_field_and_what_it_must_be(fields: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidControl) as refused:
        make_control(**{"max_position_dollars": 1.0, **fields})
    assert str(refused.value) == text


def test_refusal_of_a_record_reads_the_same() -> None:
    with pytest.raises(InvalidControl, match=r"^lot_shares must be a number, not a text$"):
        parse_control(b"AAPL", b'{"max_position_dollars": 1, "lot_shares": "ten"}')
    with pytest.raises(InvalidControl, match="missing required field `max_position_dollars`"):
        parse_control(b"AAPL", b"{}")


@given(key=st.sampled_from((b"AAPL", b"*")), time=st.integers(-(1 << 70), 1 << 70))
def test_a_control_that_is_accepted_can_be_kept_in_a_table(key: bytes, time: int) -> None:
    value = (
        b'{"max_position_dollars":1,"effective_from":%d}' if key != b"*" else b'{"state":"HALTED","effective_from":%d}'
    )
    try:
        _, control = parse_control(key, value % time)
    except InvalidControl:
        assert not -(1 << 63) <= time < 1 << 63
        return
    assert msgspec.msgpack.encode(control)
