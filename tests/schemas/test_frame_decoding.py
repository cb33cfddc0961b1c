"""Arrow frames: whole ones give their rows, damaged and hostile ones a reject; nothing else ever happens."""

from __future__ import annotations

import random
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import QUOTE, SKIP
from schemas.decoding import Reject
from schemas.frames import QUOTE_FRAME, encode_frame
from tests.pipeline.scripts import examples
from tests.schemas.records import Decoded, decoded, new_decoder, quote_row

TS = 1_700_000_000_000_000_000
NAMES = ("bid", "bid_size", "ask", "ask_size")
JSON = b'{"symbol":"AAPL","ts":1700000000000000000,"bid":99.99,"bid_size":300,"ask":100.01,"ask_size":250.5}'


def quotes(rows: int = 6, symbols: tuple[str, ...] = ("AAPL", "MSFT")) -> pa.RecordBatch:
    """A batch as `encode_frame` writes it."""
    numbers = pa.array(np.arange(rows) % len(symbols), pa.int32())
    prices = [pa.array(np.arange(rows) + 1.0 + i) for i in range(len(NAMES))]
    column = pa.DictionaryArray.from_arrays(numbers, pa.array(symbols, pa.string()))
    return pa.record_batch([column, pa.array(TS + np.arange(rows)), *prices], schema=QUOTE_FRAME)


def with_column(name: str, column: pa.Array, batch: pa.RecordBatch | None = None) -> pa.RecordBatch:
    """The batch with another column in place of one."""
    batch = batch or quotes()
    return batch.set_column(batch.schema.get_field_index(name), name, column)


def frame(*batches: pa.RecordBatch, **options: Any) -> bytes:
    """An IPC stream of batches."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def by_pyarrow(value: bytes) -> list[Decoded]:
    """The rows of a frame by pyarrow's plain conversion to Python objects."""
    rows = []
    with pa.ipc.open_stream(value) as reader:
        for batch in reader:
            columns = [batch.column(name).to_pylist() for name in ("symbol", "ts", *NAMES)]
            rows += [(SKIP,) if row[0].startswith("W") else quote_row(*row) for row in zip(*columns, strict=True)]
    return rows


def read(value: bytes) -> tuple[list[Decoded], list[Reject]]:
    """Decode a frame between two JSON records, which have to come out whole."""
    rows, rejects = decoded(new_decoder(), [JSON, value, JSON])
    assert rows[0] == rows[-1] == quote_row("AAPL", TS, 99.99, 300.0, 100.01, 250.5)
    assert all(reject.record == 1 for reject in rejects)
    return rows[1:-1], rejects


def refused(value: bytes) -> str:
    """Why a frame was refused; it left no row."""
    rows, rejects = read(value)
    assert rows == []
    assert len(rejects) == 1
    return rejects[0].reason


# -- what is taken ------------------------------------------------------------------------------------------------


def test_a_frame_gives_its_rows() -> None:
    value = encode_frame(["AAPL", "MSFT"], np.array([0, 1, 1], np.int32), np.full(3, TS), [np.arange(3) + 0.1] * 4)
    assert read(value) == (by_pyarrow(value), [])


@pytest.mark.parametrize("index", [pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64()])
def test_any_index_type_of_the_dictionary_will_do(index: pa.DataType) -> None:
    symbols = pa.DictionaryArray.from_arrays(pa.array([1, 0, 1, 0, 1, 0], index), pa.array(["AAPL", "MSFT"]))
    value = frame(with_column("symbol", symbols))
    assert read(value) == (by_pyarrow(value), [])


def test_any_order_of_the_columns_and_further_ones_will_do() -> None:
    batch = quotes().append_column("venue", pa.array(["x"] * 6))
    value = frame(batch.select(["ask", "venue", "bid", "ts", "ask_size", "symbol", "bid_size"]))
    assert read(value) == (by_pyarrow(value), [])


def test_a_further_column_whose_name_is_no_utf8_will_do() -> None:
    value = frame(quotes().append_column("venue", pa.array(["x"] * 6))).replace(b"venue", b"v\xfenue")
    assert read(value) == (by_pyarrow(value), [])
    assert len(by_pyarrow(value)) == 6


def test_all_batches_of_a_frame_are_read() -> None:
    value = frame(quotes(3), quotes(0), quotes(5))
    assert read(value) == (by_pyarrow(value), [])
    assert len(by_pyarrow(value)) == 8


def test_dictionaries_may_change_and_grow_within_a_frame() -> None:
    batches = [quotes(3, ("AAPL",)), quotes(4, ("AAPL", "IBM")), quotes(2, ("GE", "AAPL"))]
    for value in (frame(*batches), frame(*batches[:2], emit_dictionary_deltas=True)):
        assert read(value) == (by_pyarrow(value), [])


def test_an_empty_frame_has_no_rows() -> None:
    assert read(frame(quotes(0))) == ([], [])


def test_numbers_that_are_no_numbers_are_left_to_the_rules() -> None:
    value = frame(with_column("bid", pa.array([np.nan, np.inf, -0.0, -1.0, 5e-324, 1e308])))
    assert read(value) == (by_pyarrow(value), [])


# -- what is refused, in part or whole ----------------------------------------------------------------------------


@pytest.mark.parametrize("symbol", ["\u00e9", "x" * 33, "", "has space", "\n", "\x00"])
def test_a_symbol_that_is_none_loses_its_own_rows(symbol: str) -> None:
    rows, rejects = read(frame(quotes(5, ("AAPL", symbol))))
    assert [row[0] for row in rows] == [QUOTE, SKIP, QUOTE, SKIP, QUOTE]
    assert [(reject.rows, "is not 1 to 32 printable" in reject.reason) for reject in rejects] == [(2, True)]


def test_a_symbol_of_another_partition_loses_its_own_rows() -> None:
    rows, rejects = read(frame(quotes(5, ("AAPL", "WRONG"))))
    assert [row[0] for row in rows] == [QUOTE, SKIP, QUOTE, SKIP, QUOTE]
    assert [(reject.rows, "wrong partition" in reject.reason) for reject in rejects] == [(2, True)]


STRINGS = pa.array(["AAPL"] * 6)


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        pytest.param(with_column("ts", pa.array(np.arange(6.0))), "ts must be int64", id="ts float"),
        pytest.param(with_column("ts", pa.array(np.arange(6), pa.timestamp("ns"))), "ts must be int64", id="timestamp"),
        pytest.param(with_column("bid", pa.array(range(6), pa.int64())), "bid must be double", id="bid int"),
        pytest.param(with_column("ask", pa.array(np.ones(6, np.float32))), "ask must be double", id="ask float32"),
        pytest.param(with_column("ask", pa.array(["1.0"] * 6)), "ask must be double", id="ask string"),
        pytest.param(with_column("symbol", STRINGS), "dictionary of strings", id="plain strings"),
        pytest.param(with_column("symbol", STRINGS.cast(pa.binary()).dictionary_encode()), "dictionary", id="binary"),
        pytest.param(with_column("symbol", pa.array([1] * 6).dictionary_encode()), "dictionary", id="numbers"),
        pytest.param(with_column("ts", pa.array([TS, None] * 3)), "ts holds nulls", id="ts null"),
        pytest.param(with_column("bid", pa.array([1.0, None] * 3)), "bid holds nulls", id="bid null"),
        pytest.param(
            with_column("symbol", pa.array(["A", None] * 3).dictionary_encode()), "symbol holds nulls", id="symbol null"
        ),
        pytest.param(
            with_column(
                "symbol",
                pa.DictionaryArray.from_arrays(pa.array([0] * 6, pa.int8()), pa.array(["AAPL", None])),
            ),
            "dictionary of symbols holds a null",
            id="null in the dictionary",
        ),
        pytest.param(quotes().drop_columns(["bid"]), "one column bid", id="no bid"),
        pytest.param(quotes().append_column("ts", pa.array(range(6))), "one column ts", id="two ts"),
        pytest.param(pa.record_batch({"a": pa.array([1])}), "one column symbol", id="something else"),
    ],
)
def test_a_frame_of_other_columns_is_refused(batch: pa.RecordBatch, reason: str) -> None:
    assert reason in refused(frame(batch))


@pytest.mark.parametrize("number", [2, -1, 1 << 30, -(1 << 31)])
def test_a_number_beyond_the_dictionary_is_refused(number: int) -> None:
    bad = pa.array([0, 1, number, 0, 1, 0], pa.int32())
    symbols = pa.DictionaryArray.from_arrays(bad, pa.array(["AAPL", "MSFT"]), safe=False)
    assert "not an Arrow IPC stream" in refused(frame(with_column("symbol", symbols)))


def test_text_that_is_no_utf8_is_refused() -> None:
    assert "not an Arrow IPC stream" in refused(frame(quotes()).replace(b"AAPL", b"A\xff\xfeL"))


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_compressed_frame_is_refused_before_it_is_unpacked(codec: str) -> None:
    assert "compressed frames are not taken" in refused(frame(quotes(1000), compression=codec))


def test_a_type_whose_name_is_no_utf8_is_refused() -> None:
    batch = with_column("ts", pa.array(np.arange(6), pa.timestamp("ns", tz="Zone")))
    assert "ts must be int64" in refused(frame(batch).replace(b"Zone", b"\xff\xfe\xfd\xfc"))


def test_a_frame_that_is_cut_short_is_refused_wherever_it_is_cut() -> None:
    value = frame(quotes(3), quotes(2))
    for length in range(1, len(value)):
        refused(value[:length])


@pytest.mark.parametrize("more", [b"\x00", b"\xff\xff\xff\xff\x00\x00\x00\x00", frame(quotes(2)), JSON])
def test_what_stands_behind_a_frame_is_not_dropped_in_silence(more: bytes) -> None:
    refused(frame(quotes(3)) + more)


@pytest.mark.parametrize("length", [-1, 0, 1, 1 << 31, (1 << 63) - 1, -(1 << 63)])
def test_lengths_that_lie_are_refused_or_harmless(length: int) -> None:
    value = frame(quotes(6))
    packed = struct.pack("<q", length)
    for at in range(0, len(value) - 8, 4):
        check_damaged(value[:at] + packed + value[at + 8 :])


@pytest.mark.parametrize(
    "value", [b"\xff", b"\xff" * 100, b"\xff\xff\xff\xff" + b"\x7f" * 100, b"\xff\xff\xff\xff" + bytes(8)]
)
def test_a_first_byte_alone_makes_no_frame(value: bytes) -> None:
    assert "not an Arrow IPC stream" in refused(value)


# -- damage -------------------------------------------------------------------------------------------------------


def check_damaged(value: bytes) -> bool:
    """Whether a damaged frame was taken: then exactly as pyarrow reads it, and all symbols in it are known words."""
    rows, rejects = read(value)
    if [row for row in rows if row[0] == QUOTE] == [] and rejects:
        return False
    expected = by_pyarrow(value)
    taken = [(row, wanted) for row, wanted in zip(rows, expected, strict=True) if row[0] == QUOTE]
    assert all(row == wanted for row, wanted in taken)
    assert len(rows) - len(taken) == sum(reject.rows for reject in rejects)
    return True


def damaged(draw: random.Random, value: bytes) -> bytes:
    """A frame with a few bytes changed, cut out or put in."""
    data = bytearray(value)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        at = draw.randrange(1, len(data))
        what = draw.randrange(8)
        if what < 4:
            data[at] ^= 1 << draw.randrange(8)
        elif what < 6:
            data[at] = draw.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif what == 6:
            del data[at : at + draw.choice((1, 4, 8))]
        else:
            data[at:at] = draw.randbytes(draw.choice((1, 4, 8)))
        if len(data) < 2:
            break
    return bytes(data)


WHOLE = (
    frame(quotes(6)),
    frame(quotes(1)),
    frame(quotes(3), quotes(2, ("IBM", "AAPL"))),
    frame(quotes(4).append_column("venue", pa.array([["x"], None, [], ["y", "z"]]))),
)


@examples(120)
@given(st.lists(st.integers(0, 1 << 62), min_size=1, max_size=10), st.sampled_from(WHOLE))
def test_a_damaged_frame_is_refused_or_read_as_it_now_stands(seeds: list[int], whole: bytes) -> None:
    for seed in seeds:
        check_damaged(damaged(random.Random(seed), whole))
