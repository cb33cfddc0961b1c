"""The compiled reader of frames takes the plain ones, to the bit as pyarrow reads them, and no damaged one astray."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.decoding import QuoteDecoder
from schemas.frames import encode_frame
from tests.pipeline.scripts import examples
from tests.schemas.records import decoded, new_decoder
from tests.schemas.test_frame_decoding import by_pyarrow, frame, quotes

SYMBOLS = ["AAPL", "A", "BTC-USD", "x" * 32]


def plain(rows: int, seed: int) -> bytes:
    chance = np.random.default_rng(seed)
    numbers = chance.integers(0, len(SYMBOLS), rows).astype(np.int32)
    ts = chance.integers(-(1 << 62), 1 << 62, rows)
    return encode_frame(SYMBOLS, numbers, ts, [chance.standard_normal(rows) for _ in range(4)])


def primed(monkeypatch: pytest.MonkeyPatch | None = None) -> QuoteDecoder:
    """A decoder that has met the schema; with a monkeypatch, one that fails when it leaves the compiled reader."""
    decoder = new_decoder()
    assert decoded(decoder, [plain(1, 0)])[1] == []
    if monkeypatch is not None:

        def refuse(*_: object) -> None:
            raise AssertionError("left to pyarrow")

        monkeypatch.setattr(decoder, "_frame", refuse)
    return decoder


@pytest.mark.parametrize("rows", [1, 2, 63, 250, 1000])
def test_plain_frames_are_read_without_pyarrow_and_equal(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [plain(rows, seed) for seed in range(3)]
    found, rejects = decoded(primed(monkeypatch), values)
    assert rejects == []
    assert found == [row for value in values for row in by_pyarrow(value)]


@pytest.mark.parametrize("rows", [5, 300])
def test_frames_between_other_records_keep_their_place(rows: int) -> None:
    json = b'{"symbol":"AAPL","ts":1700000000000000000,"bid":9.5,"bid_size":3,"ask":9.75,"ask_size":2.5}'
    two_batches = frame(quotes(3, ("AAPL", "A")), quotes(2, ("AAPL", "A")))
    values = [json, plain(rows, 1), two_batches, plain(rows, 2), b"{", plain(rows, 3)[:-3], plain(rows, 4), json]
    found, rejects = decoded(primed(), values)
    slow, slow_rejects = decoded(new_decoder(), values)
    assert (found, rejects) == (slow, slow_rejects)
    assert [reject.record for reject in rejects] == [4, 5]


def test_foreign_symbols_are_left_to_validation() -> None:
    found, rejects = decoded(primed(), [frame(quotes(4, ("AAPL", "WRONG")))])
    assert len(found) == 4
    assert rejects[0].rows == 2
    assert "wrong partition" in rejects[0].reason


@examples(200)
@given(st.integers(0, 1 << 62))
def test_a_damaged_frame_is_refused_or_read_as_it_now_stands(seed: int) -> None:
    draw = random.Random(seed)
    whole = bytearray(plain(draw.choice((1, 7, 40)), seed % 1000))
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(1, len(whole))
        whole[at] = draw.choice((whole[at] ^ (1 << draw.randrange(8)), 0, 1, 127, 128, 255))
    value = bytes(whole[: draw.randrange(2, len(whole))] if draw.random() < 0.2 else whole)
    found, rejects = decoded(primed(), [value])
    slow, slow_rejects = decoded(new_decoder(), [value])
    # pyarrow also refuses damage to bytes that no value is read from; where both take a frame they agree.
    if not slow_rejects:
        assert (found, rejects) == (slow, [])
