"""Between numpy and Arrow by the memory itself.

`pa.array`, `pa.scalar` and `to_numpy` import pandas where it is installed: a third of a second of every process.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def column(values: np.ndarray, kind: pa.DataType, empty: np.ndarray | None = None) -> pa.Array:
    """Numbers, truth values or dates as days (int32) as a column of this kind; null where `empty` is true."""
    plain = np.ascontiguousarray(values, _DTYPES[kind]) if kind != pa.bool_() else _bits(values)
    return pa.Array.from_buffers(kind, len(values), [_validity(empty), pa.py_buffer(plain)])


def texts(values: Sequence[str], empty: np.ndarray | None = None) -> pa.Array:
    """Strings as a column; null where `empty` is true."""
    encoded = [value.encode() for value in values]
    ends = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in encoded], out=ends[1:])
    buffers = [_validity(empty), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


def numbers(values: pa.Array | pa.ChunkedArray, null: float = np.nan) -> np.ndarray:
    """Numbers of a column, which may be its own memory and then cannot be written to; null stands for those missing."""
    if isinstance(values, pa.ChunkedArray):
        chunks = [numbers(chunk, null) for chunk in values.chunks]
        return chunks[0] if len(chunks) == 1 else np.concatenate([np.zeros(0, _DTYPES[values.type]), *chunks])
    rows = slice(values.offset, values.offset + len(values))
    validity, memory = values.buffers()
    if not len(values):
        return np.zeros(0, _DTYPES[values.type])
    found: np.ndarray = np.frombuffer(memory, _DTYPES[values.type])[rows]
    if values.null_count:
        valid = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[rows]
        return np.where(valid, found, null)
    return found


_DTYPES = {
    pa.int8(): np.int8,
    pa.int16(): np.int16,
    pa.int32(): np.int32,
    pa.int64(): np.int64,
    pa.float64(): np.float64,
    pa.date32(): np.int32,
}


def _validity(empty: np.ndarray | None) -> pa.Buffer | None:
    return None if empty is None or not empty.any() else pa.py_buffer(_bits(~empty))


def _bits(values: np.ndarray) -> np.ndarray:
    return np.packbits(values, bitorder="little")
