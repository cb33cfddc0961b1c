"""Compiled reader for Arrow frames in the form that pyarrow writes from `schemas.frames.QUOTE_FRAME`.

It takes a frame only where its reading cannot differ from pyarrow's (`schemas.frames.decode_frame`): after a schema
message that pyarrow has read before, one dictionary batch and one record batch, nothing null, compressed, replaced or
out of bounds. Everything else it leaves to that one. Layouts: Arrow's Message.fbs, and flatbuffers' internals document.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from schemas.columns import QUOTE, latest_plausible
from schemas.memory import byte_at, float64_at, int32_at, int64_at, uint16_at
from schemas.symbols import MAX_SYMBOL_BYTES, UNKNOWN, find

_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
_METADATA_V5 = 4
_CONTINUATION = -1
_COLUMNS = 6
_NONE = np.int64(0)


@nb.njit(cache=True, nogil=True)
def _table(at: int, first: int, last: int) -> int:
    """The address that an offset at an address leads to, 0 when it leaves the metadata."""
    if at < first or at + 4 > last:
        return _NONE
    target = at + np.int64(int32_at(at))
    return target if first <= target and target + 4 <= last else _NONE


@nb.njit(cache=True, nogil=True)
def _field(table: int, number: int, first: int, last: int) -> int:
    """Where a table's field lies, 0 if it is absent, -1 when the table is damaged."""
    vtable = table - np.int64(int32_at(table))
    if vtable < first or vtable + 4 > last:
        return np.int64(-1)
    slot = 4 + 2 * number
    if slot + 2 > np.int64(uint16_at(vtable)):
        return _NONE
    if vtable + slot + 2 > last:
        return np.int64(-1)
    offset = np.int64(uint16_at(vtable + slot))
    if offset == 0:
        return _NONE
    place = table + offset
    return place if place + 8 <= last else np.int64(-1)


@nb.njit(cache=True, nogil=True)
def _batch(at: int, end: int, kind: int, place: np.ndarray) -> bool:
    """Read one message's head; place: int64[5], filled with nodes, buffers, body, its length, the message's end."""
    if at + 16 > end or int32_at(at) != _CONTINUATION:
        return False
    length = np.int64(int32_at(at + 4))
    first = at + 8
    last = first + length
    if length < 16 or length % 8 != 0 or last > end:
        return False
    message = _table(first, first, last)
    if message == 0:
        return False
    version_at = _field(message, 0, first, last)
    if version_at <= 0 or uint16_at(version_at) != _METADATA_V5:
        return False
    kind_at = _field(message, 1, first, last)
    header_at = _field(message, 2, first, last)
    body_at = _field(message, 3, first, last)
    if kind_at <= 0 or header_at <= 0 or body_at <= 0 or byte_at(kind_at) != kind:
        return False
    header = _table(header_at, first, last)
    if header == 0:
        return False
    if kind == _DICTIONARY_BATCH:
        delta_at = _field(header, 2, first, last)
        id_at = _field(header, 0, first, last)
        data_at = _field(header, 1, first, last)
        if delta_at != 0 or data_at <= 0 or (id_at != 0 and (id_at < 0 or int64_at(id_at) != 0)):
            return False
        header = _table(data_at, first, last)
        if header == 0:
            return False
    rows_at = _field(header, 0, first, last)
    nodes_at = _field(header, 1, first, last)
    buffers_at = _field(header, 2, first, last)
    if rows_at <= 0 or nodes_at <= 0 or buffers_at <= 0:
        return False
    if _field(header, 3, first, last) != 0 or _field(header, 4, first, last) != 0:
        return False
    nodes, buffers = _table(nodes_at, first, last), _table(buffers_at, first, last)
    columns = 1 if kind == _DICTIONARY_BATCH else _COLUMNS
    n_buffers = 3 if kind == _DICTIONARY_BATCH else 2 * _COLUMNS
    if nodes == 0 or buffers == 0 or int32_at(nodes) != columns or int32_at(buffers) != n_buffers:
        return False
    rows = int64_at(rows_at)
    if nodes + 4 + 16 * columns > last or buffers + 4 + 16 * n_buffers > last or rows < 1:
        return False
    for column in range(columns):
        if int64_at(nodes + 4 + 16 * column) != rows or int64_at(nodes + 12 + 16 * column) != 0:
            return False
    body_length = int64_at(body_at)
    if body_length < 0 or body_length % 8 != 0 or body_length > end - last:
        return False
    for buffer in range(n_buffers):
        begins, holds = int64_at(buffers + 4 + 16 * buffer), int64_at(buffers + 12 + 16 * buffer)
        if begins % 8 != 0 or begins < 0 or holds < 0 or begins > body_length or holds > body_length - begins:
            return False
    place[0], place[1], place[2], place[3], place[4] = rows, buffers + 4, last, body_length, last + body_length
    return True


@nb.njit(cache=True, nogil=True)
def read_frames(
    addresses: np.ndarray,
    lengths: np.ndarray,
    start: int,
    schema: np.ndarray,
    slots: np.ndarray,
    names: np.ndarray,
    timestamps: np.ndarray,
    future_ns: int,
    kind: np.ndarray,
    number: np.ndarray,
    ts: np.ndarray,
    latest_ts: np.ndarray,
    bid: np.ndarray,
    bid_size: np.ndarray,
    ask: np.ndarray,
    ask_size: np.ndarray,
    row: int,
    known: np.ndarray,
) -> tuple[int, int]:
    """Read frames from record `start` on into the columns from `row` on.

    addresses, lengths: int64[n], of the records' bytes; timestamps, future_ns: see `schemas.columns.latest_plausible`;
    schema: uint8[m], the schema message that pyarrow knows; known: int32[k], scratch for the symbols of a dictionary.
    Returns the first record it did not take, and the next free row.
    """
    dictionary = np.zeros(5, np.int64)
    table = np.zeros(5, np.int64)
    for i in range(start, len(addresses)):
        at, end = addresses[i], addresses[i] + lengths[i]
        if lengths[i] < len(schema) + 40:
            return i, row
        for k in range(len(schema)):
            if byte_at(at + k) != schema[k]:
                return i, row
        if not _batch(at + len(schema), end, _DICTIONARY_BATCH, dictionary):
            return i, row
        if not _batch(dictionary[4], end, _RECORD_BATCH, table):
            return i, row
        # Nothing but the end-of-stream mark may follow.
        if table[4] + 8 != end or int32_at(table[4]) != _CONTINUATION or int32_at(table[4] + 4) != 0:
            return i, row
        n_symbols, rows = dictionary[0], table[0]
        if n_symbols > len(known) or rows > len(kind) - row:
            return i, row
        ends_at, text_at = dictionary[1] + 16, dictionary[1] + 32
        if int64_at(ends_at + 8) < 4 * (n_symbols + 1):
            return i, row
        offsets, text = dictionary[2] + int64_at(ends_at), dictionary[2] + int64_at(text_at)
        begins = np.int64(int32_at(offsets))
        if begins < 0:
            return i, row
        for s in range(n_symbols):
            ends = np.int64(int32_at(offsets + 4 * (s + 1)))
            if ends <= begins or ends > int64_at(text_at + 8) or ends - begins > MAX_SYMBOL_BYTES:
                return i, row
            known[s] = find(slots, names, text + begins, ends - begins, end)
            if known[s] == UNKNOWN:
                return i, row
            begins = ends
        body, buffers = table[2], table[1]
        for column in range(_COLUMNS):
            # Validity says nothing where nothing is null; the values must all be there.
            width = 4 if column == 0 else 8
            if int64_at(buffers + 16 * (2 * column + 1) + 8) < width * rows:
                return i, row
        numbers = body + int64_at(buffers + 16)
        for k in range(rows):
            index = np.int64(int32_at(numbers + 4 * k))
            if index < 0 or index >= n_symbols:
                return i, row
            number[row + k] = known[index]
        at_ts, at_bid = body + int64_at(buffers + 48), body + int64_at(buffers + 80)
        at_bid_size, at_ask = body + int64_at(buffers + 112), body + int64_at(buffers + 144)
        at_ask_size = body + int64_at(buffers + 176)
        latest = latest_plausible(timestamps[i], future_ns)
        for k in range(rows):
            kind[row + k] = QUOTE
            latest_ts[row + k] = latest
            ts[row + k] = int64_at(at_ts + 8 * k)
            bid[row + k] = float64_at(at_bid + 8 * k)
            bid_size[row + k] = float64_at(at_bid_size + 8 * k)
            ask[row + k] = float64_at(at_ask + 8 * k)
            ask_size[row + k] = float64_at(at_ask_size + 8 * k)
        row += rows
    return len(addresses), row
