"""Symbols as small integers: an index that compiled parsers can look names up in."""

from __future__ import annotations

import numba as nb
import numpy as np

from schemas.memory import byte_at

MAX_SYMBOL_BYTES = 32
UNKNOWN = -1

_FNV_OFFSET = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)


@nb.njit(cache=True, nogil=True, inline="always")
def _slot(value: np.uint64, mask: int) -> np.int64:
    return np.int64((value ^ (value >> np.uint64(32))) & np.uint64(mask))


@nb.njit(cache=True, nogil=True)
def find(slots: np.ndarray, names: np.ndarray, lengths: np.ndarray, address: int, length: int) -> int:
    """Number of the symbol whose bytes lie at an address, or ``UNKNOWN``.

    slots: int32[2^k], number + 1 or 0; names: uint8[n, 32]; lengths: int64[n].
    """
    hashed = _FNV_OFFSET
    for i in range(length):
        hashed = (hashed ^ np.uint64(byte_at(address + i))) * _FNV_PRIME
    mask = len(slots) - 1
    at = _slot(hashed, mask)
    while slots[at] != 0:
        number = slots[at] - 1
        if lengths[number] == length:
            same = True
            for i in range(length):
                if names[number, i] != byte_at(address + i):
                    same = False
                    break
            if same:
                return number
        at = (at + 1) & mask
    return UNKNOWN


@nb.njit(cache=True, nogil=True)
def _insert(slots: np.ndarray, names: np.ndarray, lengths: np.ndarray, number: int) -> None:
    hashed = _FNV_OFFSET
    for i in range(lengths[number]):
        hashed = (hashed ^ np.uint64(names[number, i])) * _FNV_PRIME
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
        self.names = np.zeros((256, MAX_SYMBOL_BYTES), np.uint8)
        self.lengths = np.zeros(256, np.int64)

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
        if number == len(self.lengths):
            self._grow()
        encoded = symbol.encode("ascii")
        self.names[number, : len(encoded)] = np.frombuffer(encoded, np.uint8)
        self.lengths[number] = len(encoded)
        _insert(self.slots, self.names, self.lengths, number)
        self.symbols.append(symbol)
        self._numbers[symbol] = number
        return number

    def _grow(self) -> None:
        size = 2 * len(self.lengths)
        self.names = np.vstack([self.names, np.zeros_like(self.names)])
        self.lengths = np.concatenate([self.lengths, np.zeros_like(self.lengths)])
        self.slots = np.zeros(4 * size, np.int32)
        for number in range(len(self.symbols)):
            _insert(self.slots, self.names, self.lengths, number)
