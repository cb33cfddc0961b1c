"""Compiled parser for quotes in the plain form of JSON that nearly every producer writes.

It takes a record only where its reading cannot differ from the validating decoder's (`schemas.decoding`), and leaves
everything else to that one: other fields than the six of a quote, repeated fields, escapes, exponents, signs, more
digits than one division reads exactly.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from schemas.columns import QUOTE, SKIP, latest_plausible
from schemas.memory import byte_at, trailing_zeros, uint64_at
from schemas.symbols import MAX_SYMBOL_BYTES, UNKNOWN, find

NEW_SYMBOL, FRAME = 1, 2
"""Why `parse` stopped before the end: a symbol it does not know, or a record that is no JSON object."""

_SYMBOL, _TS, _BID, _BID_SIZE, _ASK, _ASK_SIZE = 1, 2, 4, 8, 16, 32
_ALL = 63
_POWERS = np.array([10.0**i for i in range(23)])  # exact: 10^22 is the last power of ten that a double holds
_TENS = np.array([10**i for i in range(9)])
_EXACT = 1 << 53
_MAX_DIGITS = 18


def _bytes(text: bytes) -> np.uint64:
    """Text as the low bytes of a number that is read from where it begins."""
    return np.uint64(int.from_bytes(text, "little"))


_IN_SYMBOL, _IN_TS = _bytes(b'symbol"'), _bytes(b'ts"')
_IN_BID, _IN_BID_SIZE = _bytes(b'bid"'), _bytes(b"bid_size")
_IN_ASK, _IN_ASK_SIZE = _bytes(b'ask"'), _bytes(b"ask_size")
_LOW_3, _LOW_4, _LOW_7 = (np.uint64((1 << 8 * n) - 1) for n in (3, 4, 7))

_ZEROS = _bytes(b"00000000")
_ABOVE_NINE = np.uint64(0x7676767676767676)  # added to a byte of 10 and more, it sets the highest bit
_HIGHEST = np.uint64(0x8080808080808080)
_PAIRS = np.uint64(0x000000FF000000FF)
_HUNDREDS = np.uint64(100 + (1_000_000 << 32))
_ONES = np.uint64(1 + (10_000 << 32))


@nb.njit(cache=True, nogil=True, inline="always")
def _field(p: int) -> tuple[int, int]:
    """The field whose name begins at an address with 8 readable bytes, and the name's length; (0, 0) for another."""
    name = uint64_at(p)
    if name & _LOW_4 == _IN_BID:
        return _BID, 3
    if name & _LOW_4 == _IN_ASK:
        return _ASK, 3
    if name == _IN_BID_SIZE:
        return _BID_SIZE, 8
    if name == _IN_ASK_SIZE:
        return _ASK_SIZE, 8
    if name & _LOW_3 == _IN_TS:
        return _TS, 2
    if name & _LOW_7 == _IN_SYMBOL:
        return _SYMBOL, 6
    return 0, 0


@nb.njit(cache=True, nogil=True, inline="always")
def _digits(p: int, end: int) -> tuple[int, int]:
    """The number that up to eight digits from `p` on spell, and how many there are.

    Eight bytes at once, as in Lemire's and Mula's note on parsing series of integers with SIMD (2018).
    """
    if p + 8 <= end:
        digits = uint64_at(p) ^ _ZEROS
        others = ((digits + _ABOVE_NINE) | digits) & _HIGHEST
        n = trailing_zeros(others) >> 3
        if n == 0:
            return 0, 0
        digits <<= np.uint64(64 - 8 * n)  # the missing ones become leading zeros
        digits = digits * np.uint64(10) + (digits >> np.uint64(8))
        even = (digits & _PAIRS) * _HUNDREDS
        odd = ((digits >> np.uint64(16)) & _PAIRS) * _ONES
        return np.int64((even + odd) >> np.uint64(32)), n
    value = n = 0
    while p + n < end and byte_at(p + n) >= 48 and byte_at(p + n) <= 57:
        value = value * 10 + (np.int64(byte_at(p + n)) - 48)
        n += 1
    return value, n


@nb.njit(cache=True, nogil=True)
def parse(
    addresses: np.ndarray,
    lengths: np.ndarray,
    timestamps: np.ndarray,
    future_ns: int,
    start: int,
    slots: np.ndarray,
    names: np.ndarray,
    kind: np.ndarray,
    number: np.ndarray,
    ts: np.ndarray,
    latest_ts: np.ndarray,
    bid: np.ndarray,
    bid_size: np.ndarray,
    ask: np.ndarray,
    ask_size: np.ndarray,
    row: int,
    hard: np.ndarray,
) -> tuple[int, int, int]:
    """Read records from `start` on into the columns from `row` on, one row a record.

    addresses, lengths: int64[n], of the records' bytes; timestamps: int64[n], Kafka's, ms, below 0 where there is none;
    future_ns: how far a ts may lie beyond it; slots, names: see `schemas.symbols.find`;
    hard: int64[n], filled with the records left to the validating decoder (their rows are `SKIP` for now).
    Returns the record it stopped before, why (0: at the end, `NEW_SYMBOL`, `FRAME`), and how many are hard.
    """
    n_hard = 0
    for i in range(start, len(addresses)):
        p = addresses[i]
        end = p + lengths[i]
        kind[row] = SKIP
        latest_ts[row] = latest_plausible(timestamps[i], future_ns)
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
            # Eight bytes of the name are read at once; only a last field with one digit is shorter.
            if p + 9 > end or byte_at(p) != 34:
                plain = False
                break
            field, length = _field(p + 1)
            p += 1 + length
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
                number_start = p
                mantissa, digits = _digits(p, end)
                p += digits
                more = digits
                while more == 8:
                    part, more = _digits(p, end)
                    mantissa = mantissa * _TENS[more] + part
                    digits += more
                    p += more
                decimals = -1
                if p < end and byte_at(p) == 46 and digits > 0:
                    p += 1
                    decimals, more = 0, 8
                    while more == 8:
                        part, more = _digits(p, end)
                        mantissa = mantissa * _TENS[more] + part
                        decimals += more
                        p += more
                    digits += decimals
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
            found = find(slots, names, symbol_at, symbol_length, end)
            if found == UNKNOWN:
                return i, NEW_SYMBOL, n_hard
            number[row] = found
            kind[row] = QUOTE
        else:
            hard[n_hard] = i
            n_hard += 1
        row += 1
    return len(addresses), 0, n_hard
