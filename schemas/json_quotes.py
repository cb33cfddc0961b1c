"""Compiled parser for quotes in the plain form of JSON that nearly every producer writes.

It takes a record only where its reading cannot differ from the validating decoder's (`schemas.decoding`), and leaves
everything else to that one: other fields than the six of a quote, repeated fields, escapes, exponents, signs, more
digits than one division reads exactly.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from schemas.columns import QUOTE, SKIP
from schemas.memory import byte_at
from schemas.symbols import MAX_SYMBOL_BYTES, UNKNOWN, find

NEW_SYMBOL, FRAME = 1, 2
"""Why `parse` stopped before the end: a symbol it does not know, or a record that is no JSON object."""

_SYMBOL, _TS, _BID, _BID_SIZE, _ASK, _ASK_SIZE = 1, 2, 4, 8, 16, 32
_ALL = 63
_POWERS = np.array([10.0**i for i in range(23)])  # exact: 10^22 is the last power of ten that a double holds
_EXACT = 1 << 53
_MAX_DIGITS = 18


def _name(text: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(text, "big"))


_NAME_SYMBOL, _NAME_TS = _name(b"symbol"), _name(b"ts")
_NAME_BID, _NAME_BID_SIZE = _name(b"bid"), _name(b"bid_size")
_NAME_ASK, _NAME_ASK_SIZE = _name(b"ask"), _name(b"ask_size")


@nb.njit(cache=True, nogil=True, inline="always")
def _field(name: int, length: int) -> int:
    if name == _NAME_BID and length == 3:
        return _BID
    if name == _NAME_ASK and length == 3:
        return _ASK
    if name == _NAME_BID_SIZE and length == 8:
        return _BID_SIZE
    if name == _NAME_ASK_SIZE and length == 8:
        return _ASK_SIZE
    if name == _NAME_TS and length == 2:
        return _TS
    if name == _NAME_SYMBOL and length == 6:
        return _SYMBOL
    return 0


@nb.njit(cache=True, nogil=True)
def parse(
    addresses: np.ndarray,
    lengths: np.ndarray,
    start: int,
    slots: np.ndarray,
    names: np.ndarray,
    name_lengths: np.ndarray,
    kind: np.ndarray,
    number: np.ndarray,
    ts: np.ndarray,
    bid: np.ndarray,
    bid_size: np.ndarray,
    ask: np.ndarray,
    ask_size: np.ndarray,
    row: int,
    hard: np.ndarray,
) -> tuple[int, int, int]:
    """Read records from `start` on into the columns from `row` on, one row a record.

    addresses, lengths: int64[n], of the records' bytes; slots, names, name_lengths: see `schemas.symbols.find`;
    hard: int64[n], filled with the records left to the validating decoder (their rows are `SKIP` for now).
    Returns the record it stopped before, why (0: at the end, `NEW_SYMBOL`, `FRAME`), and how many are hard.
    """
    n_hard = 0
    for i in range(start, len(addresses)):
        p = addresses[i]
        end = p + lengths[i]
        kind[row] = SKIP
        if p == end or byte_at(p) != 123:  # {
            if p != end and byte_at(p) == 255:
                return i, FRAME, n_hard
            hard[n_hard] = i
            n_hard += 1
            row += 1
            continue
        got = 0
        symbol_at = np.int64(0)
        symbol_length = 0
        plain = True
        p += 1
        while plain:
            while p < end and byte_at(p) == 32:
                p += 1
            if p >= end or byte_at(p) != 34:
                plain = False
                break
            p += 1
            name = np.uint64(0)
            name_start = p
            while p < end and byte_at(p) != 34 and p - name_start < 9:
                name = (name << np.uint64(8)) | np.uint64(byte_at(p))
                p += 1
            field = _field(name, p - name_start)
            if field == 0 or got & field or p + 1 >= end or byte_at(p) != 34 or byte_at(p + 1) != 58:
                plain = False
                break
            got |= field
            p += 2
            while p < end and byte_at(p) == 32:
                p += 1
            if field == _SYMBOL:
                if p >= end or byte_at(p) != 34:
                    plain = False
                    break
                p += 1
                symbol_at = p
                while p < end:
                    byte = byte_at(p)
                    if byte == 34:
                        break
                    if byte <= 32 or byte > 126 or byte == 92:
                        plain = False
                        break
                    p += 1
                symbol_length = p - symbol_at
                if not plain or p >= end or symbol_length == 0 or symbol_length > MAX_SYMBOL_BYTES:
                    plain = False
                    break
                p += 1
            else:
                mantissa = np.int64(0)
                digits = 0
                decimals = -1
                number_start = p
                while p < end:
                    byte = byte_at(p)
                    if byte >= 48 and byte <= 57:
                        if digits <= _MAX_DIGITS:
                            mantissa = mantissa * 10 + (np.int64(byte) - 48)
                        digits += 1
                        if decimals >= 0:
                            decimals += 1
                    elif byte == 46 and decimals < 0 and digits > 0:
                        decimals = 0
                    else:
                        break
                    p += 1
                if p >= end or digits == 0 or decimals == 0:
                    plain = False
                    break
                if byte_at(number_start) == 48 and digits > 1 and byte_at(number_start + 1) != 46:
                    plain = False
                    break
                if field == _TS:
                    # 19 digits below 9·10^18 still fit into 64 bits.
                    fits = digits <= _MAX_DIGITS or (digits == _MAX_DIGITS + 1 and byte_at(number_start) < 57)
                    if decimals >= 0 or not fits:
                        plain = False
                        break
                    ts[row] = mantissa
                else:
                    if digits > _MAX_DIGITS or mantissa > _EXACT:
                        plain = False
                        break
                    value = float(mantissa)
                    if decimals > 0:
                        value = value / _POWERS[decimals]
                    if field == _BID:
                        bid[row] = value
                    elif field == _ASK:
                        ask[row] = value
                    elif field == _BID_SIZE:
                        bid_size[row] = value
                    else:
                        ask_size[row] = value
            while p < end and byte_at(p) == 32:
                p += 1
            if p >= end:
                plain = False
                break
            byte = byte_at(p)
            p += 1
            if byte == 125:  # }
                break
            if byte != 44:  # ,
                plain = False
        if plain and got == _ALL and p == end:
            found = find(slots, names, name_lengths, symbol_at, symbol_length)
            if found == UNKNOWN:
                return i, NEW_SYMBOL, n_hard
            number[row] = found
            kind[row] = QUOTE
        else:
            hard[n_hard] = i
            n_hard += 1
        row += 1
    return len(addresses), 0, n_hard
