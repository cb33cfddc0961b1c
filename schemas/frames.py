"""Arrow frames: many quotes in one record of ``quotes``, as an Arrow IPC stream."""

from __future__ import annotations

import struct
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
        _refuse_compression(value)
        source = pa.BufferReader(value)
        with pa.ipc.open_stream(source) as reader:
            if not value.endswith(_END_OF_STREAM):
                raise FrameError("the frame is cut short: it lacks Arrow's end-of-stream mark")
            batches = [_columns(batch) for batch in reader]
        if source.tell() != len(value):
            raise FrameError(f"{len(value) - source.tell()} bytes stand behind the end of the frame")
        return batches
    except (pa.ArrowException, OSError, struct.error) as error:
        raise FrameError(f"not an Arrow IPC stream: {error}") from error


def plain_schema(value: bytes) -> bytes | None:
    """The schema message of a readable frame, if `schemas.frame_reader` may read frames that begin with it."""
    try:
        with pa.ipc.open_stream(value) as reader:
            fields = [(field.name, field.type) for field in reader.schema]
    except UnicodeDecodeError:
        return None  # the name of a further column
    if fields != [(field.name, field.type) for field in QUOTE_FRAME]:
        return None
    length = _MESSAGE_START.size + _MESSAGE_START.unpack_from(value)[1]
    schema = _Table.root(value[_MESSAGE_START.size : length]).table(2)
    little_endian = schema is not None and schema.number("<h", 0) == 0
    return value[:length] if little_endian else None


_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


_MESSAGE_START = struct.Struct("<Ii")
_RECORD_BATCH, _DICTIONARY_BATCH = 3, 2  # MessageHeader in Arrow's Message.fbs


def _refuse_compression(value: bytes) -> None:
    """Refuse compressed bodies before they are read: a few kilobytes of them can unpack to gigabytes."""
    at = 0
    while at + _MESSAGE_START.size <= len(value):
        mark, length = _MESSAGE_START.unpack_from(value, at)
        if mark != 0xFFFFFFFF or length <= 0:
            return
        metadata = value[at + _MESSAGE_START.size : at + _MESSAGE_START.size + length]
        message = _Table.root(metadata)
        header = message.table(2)
        kind = message.number("<B", 1)
        if header is not None and kind == _DICTIONARY_BATCH:
            header = header.table(1)
        if header is not None and kind in (_RECORD_BATCH, _DICTIONARY_BATCH) and header.place(3):
            raise FrameError("compressed frames are not taken: compress on the topic instead (compression.type)")
        body = message.number("<q", 3)
        if body < 0:
            return
        at += _MESSAGE_START.size + length + body


class _Table:
    """A table of a flatbuffer: fields are found through its vtable (flatbuffers' internals document)."""

    def __init__(self, buffer: bytes, at: int) -> None:
        self._buffer = buffer
        self._at = at

    @classmethod
    def root(cls, buffer: bytes) -> _Table:
        return cls(buffer, struct.unpack_from("<I", buffer)[0])

    def place(self, field: int) -> int:
        """Where a field lies, 0 if it is absent. Raises struct.error beyond the buffer."""
        vtable = self._at - struct.unpack_from("<i", self._buffer, self._at)[0]
        if vtable < 0 or 4 + 2 * field >= struct.unpack_from("<H", self._buffer, vtable)[0]:
            return 0
        offset: int = struct.unpack_from("<H", self._buffer, vtable + 4 + 2 * field)[0]
        return self._at + offset if offset else 0

    def number(self, form: str, field: int) -> int:
        place = self.place(field)
        return int(struct.unpack_from(form, self._buffer, place)[0]) if place else 0

    def table(self, field: int) -> _Table | None:
        place = self.place(field)
        return _Table(self._buffer, place + struct.unpack_from("<I", self._buffer, place)[0]) if place else None


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
