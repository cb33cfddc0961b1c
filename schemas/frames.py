"""Arrow frames: many quotes in one record of ``quotes``, as an Arrow IPC stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

QUOTE_FRAME = pa.schema(
    [
        pa.field("symbol", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("ts", pa.int64(), nullable=False),
        pa.field("bid", pa.float64(), nullable=False),
        pa.field("bid_size", pa.float64(), nullable=False),
        pa.field("ask", pa.float64(), nullable=False),
        pa.field("ask_size", pa.float64(), nullable=False),
    ]
)
"""Columns of a frame. A reader takes any index type of the dictionary and any order of the columns."""

FIRST_BYTE = 0xFF
"""An IPC stream begins with it; a JSON record begins with ``{``."""

_NUMBERS = ("bid", "bid_size", "ask", "ask_size")


class FrameError(ValueError):
    """A frame that cannot be read; the text says what is wrong with it."""


def encode_frame(symbols: Sequence[str], numbers: np.ndarray, ts: np.ndarray, prices: Sequence[np.ndarray]) -> bytes:
    """One frame. numbers: int32[n] into `symbols`; ts: int64[n]; prices: bid, bid_size, ask, ask_size, float64[n]."""
    column = pa.DictionaryArray.from_arrays(pa.array(numbers, pa.int32()), pa.array(symbols, pa.string()))
    batch = pa.record_batch([column, pa.array(ts), *(pa.array(price) for price in prices)], schema=QUOTE_FRAME)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, QUOTE_FRAME) as writer:
        writer.write_batch(batch)
    result: bytes = sink.getvalue().to_pybytes()
    return result


def decode_frame(value: bytes) -> list[tuple[list[str], np.ndarray, np.ndarray, list[np.ndarray]]]:
    """The batches of a frame as (symbols, numbers, ts, [bid, bid_size, ask, ask_size]).

    Raises `FrameError` for anything that is no whole frame of quotes.
    """
    try:
        source = pa.BufferReader(value)
        with pa.ipc.open_stream(source) as reader:
            if not value.endswith(_END_OF_STREAM):
                raise FrameError("the frame is cut short: it lacks Arrow's end-of-stream mark")
            batches = [_columns(batch) for batch in reader]
        if source.tell() != len(value):
            raise FrameError(f"{len(value) - source.tell()} bytes stand behind the end of the frame")
        return batches
    except (pa.ArrowException, OSError) as error:
        raise FrameError(f"not an Arrow IPC stream: {error}") from error


_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def _columns(batch: pa.RecordBatch) -> tuple[list[str], np.ndarray, np.ndarray, list[np.ndarray]]:
    batch.validate(full=True)
    symbol = _column(batch, "symbol", "dictionary of strings")
    if not pa.types.is_dictionary(symbol.type) or not pa.types.is_string(symbol.type.value_type):
        raise FrameError(f"symbol must be a dictionary of strings, not {symbol.type}")
    numbers = symbol.indices.to_numpy().astype(np.int32, copy=False)
    prices = [_typed(batch, name, pa.float64()) for name in _NUMBERS]
    symbols = symbol.dictionary.to_pylist()
    if None in symbols:
        raise FrameError("the dictionary of symbols holds a null")
    return symbols, numbers, _typed(batch, "ts", pa.int64()), prices


def _typed(batch: pa.RecordBatch, name: str, wanted: pa.DataType) -> np.ndarray:
    column = _column(batch, name, str(wanted))
    if column.type != wanted:
        raise FrameError(f"{name} must be {wanted}, not {column.type}")
    return column.to_numpy()


def _column(batch: pa.RecordBatch, name: str, wanted: str) -> Any:
    places = batch.schema.get_all_field_indices(name)
    if len(places) != 1:
        raise FrameError(f"a frame needs one column {name} ({wanted})")
    column = batch.column(places[0])
    if column.null_count:
        raise FrameError(f"{name} holds nulls")
    return column
