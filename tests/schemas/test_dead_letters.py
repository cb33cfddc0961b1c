"""A record that is set aside says where it came from and fits, however large it was."""

from __future__ import annotations

import pytest

from schemas.dead_letters import MAX_KEY_BYTES, MAX_VALUE_BYTES, Origin, dead_letter

ORIGIN = Origin("desk-quotes", 3, 17)


def test_a_record_is_set_aside_as_it_came() -> None:
    key, value, headers = dead_letter(ORIGIN, b"AAPL", b"{", "malformed", "signals-0")
    assert (key, value) == (b"AAPL", b"{")
    found = dict(headers)
    assert found.pop("mm_time").endswith(b"Z")
    assert found == {
        "mm_topic": b"desk-quotes",
        "mm_partition": b"3",
        "mm_offset": b"17",
        "mm_reason": b"malformed",
        "mm_agent": b"signals-0",
    }


def test_neither_key_nor_value_need_be_there() -> None:
    key, value, headers = dead_letter(ORIGIN, None, None, "empty value", "signals-0")
    assert (key, value) == (None, None)
    assert not {"mm_truncated", "mm_key_truncated"} & dict(headers).keys()


@pytest.mark.parametrize("more", [0, 1, 100_000])
def test_what_is_too_long_is_cut_and_says_how_long_it_was(more: int) -> None:
    key, value = b"k" * (MAX_KEY_BYTES + more), b"v" * (MAX_VALUE_BYTES + more)
    letter = dead_letter(ORIGIN, key, value, "malformed", "signals-0")
    assert (letter.key, letter.value) == (key[:MAX_KEY_BYTES], value[:MAX_VALUE_BYTES])
    cut = {name: int(text) for name, text in letter.headers if "truncated" in name}
    assert cut == ({"mm_truncated": len(value), "mm_key_truncated": len(key)} if more else {})


def test_the_largest_letter_fits_where_kafkas_own_limit_holds() -> None:
    """Also in headers: a reason of the longest characters there are."""
    letter = dead_letter(ORIGIN, b"k" * (1 << 21), b"v" * (1 << 21), "\U0001f4c8" * 5_000, "signals-0")
    headers = sum(len(name) + len(text) for name, text in letter.headers)
    assert len(letter.key or b"") + len(letter.value or b"") + headers < 1_000_000


def test_a_reason_that_is_no_whole_text_is_written_all_the_same() -> None:
    letter = dead_letter(ORIGIN, None, b"", "Bad \ud800", "signals-0")
    assert dict(letter.headers)["mm_reason"] == b"Bad \\ud800"
