"""Symbols as small integers: an index that compiled parsers can look names up in."""

from __future__ import annotations

import numba as nb
import numpy as np

from schemas.memory import byte_at, uint64_at

MAX_SYMBOL_BYTES = 32
UNKNOWN = -1

_WORDS = MAX_SYMBOL_BYTES // 8
_OFFSET = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)
_ALL_BITS = np.uint64(0xFFFFFFFFFFFFFFFF)


@nb.njit(cache=True, nogil=True, inline="always")
def _word(address: int, length: int, end: int) -> np.uint64:
    """Up to eight bytes as the low bytes of a number; nothing at or beyond `end` is read."""
    if address + 8 <= end:
        word = uint64_at(address)
        return word & (_ALL_BITS >> np.uint64(64 - 8 * length)) if length < 8 else word
    word = np.uint64(0)
    for i in range(min(length, 8)):
        word |= np.uint64(byte_at(address + i)) << np.uint64(8 * i)
    return word


@nb.njit(cache=True, nogil=True, inline="always")
def _hash(hashed: np.uint64, word: np.uint64) -> np.uint64:
    return (hashed ^ word) * _PRIME  # Fowler, Noll and Vo's, a word at a time


@nb.njit(cache=True, nogil=True, inline="always")
def _slot(hashed: np.uint64, mask: int) -> np.int64:
    return np.int64((hashed ^ (hashed >> np.uint64(32))) & np.uint64(mask))


@nb.njit(cache=True, nogil=True)
def find(slots: np.ndarray, names: np.ndarray, address: int, length: int, end: int) -> int:
    """Number of the symbol whose bytes lie at an address, or ``UNKNOWN``.

    slots: int32[2^k], number + 1 or 0; names: uint64[n, 4], padded with zeros, which no symbol contains;
    length: 1 to `MAX_SYMBOL_BYTES`; end: up to where memory may be read.
    """
    words = (length + 7) // 8
    hashed = _OFFSET
    for k in range(words):
        hashed = _hash(hashed, _word(address + 8 * k, length - 8 * k, end))
    mask = len(slots) - 1
    at = _slot(hashed, mask)
    while slots[at] != 0:
        number = slots[at] - 1
        same = words == _WORDS or names[number, words] == 0
        for k in range(words):
            same &= names[number, k] == _word(address + 8 * k, length - 8 * k, end)
        if same:
            return number
        at = (at + 1) & mask
    return UNKNOWN


@nb.njit(cache=True, nogil=True)
def _insert(slots: np.ndarray, name: np.ndarray, number: int) -> None:
    hashed = _OFFSET
    for word in name:
        if word != 0:
            hashed = _hash(hashed, word)
    mask = len(slots) - 1
    at = _slot(hashed, mask)
    while slots[at] != 0:
        at = (at + 1) & mask
    slots[at] = number + 1


class SymbolIndex:
    """Numbers symbols in the order in which they come; names never leave.

    The arrays (see `find`) are replaced when they grow: take them anew for each call.
    """

    def __init__(self) -> None:
        self.symbols: list[str] = []
        self._numbers: dict[str, int] = {}
        self.slots = np.zeros(1024, np.int32)
        self.names = np.zeros((256, _WORDS), np.uint64)

    def __len__(self) -> int:
        return len(self.symbols)

    def get(self, symbol: str) -> int:
        """Number of a symbol, or ``UNKNOWN``."""
        return self._numbers.get(symbol, UNKNOWN)

    def add(self, symbol: str) -> int:
        """Number of a symbol, a new one if it has none yet. The symbol has 1 to 32 ASCII characters."""
        number = self._numbers.get(symbol)
        if number is not None:
            return number
        number = len(self.symbols)
        if number == len(self.names):
            self._grow()
        padded = symbol.encode("ascii").ljust(MAX_SYMBOL_BYTES, b"\0")
        self.names[number] = np.frombuffer(padded, np.dtype("<u8"))
        _insert(self.slots, self.names[number], number)
        self.symbols.append(symbol)
        self._numbers[symbol] = number
        return number

    def _grow(self) -> None:
        self.names = np.vstack([self.names, np.zeros_like(self.names)])
        self.slots = np.zeros(4 * len(self.names), np.int32)
        for number in range(len(self.symbols)):
            _insert(self.slots, self.names[number], number)
