"""Raw records for the decoders, as a batch holds them, and what the decoders make of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from schemas.columns import CLOCK, END_CLOCK, QUOTE, SKIP
from schemas.decoding import QuoteDecoder, Reject

KNOWN = ("AAPL", "A", "BTC-USD", "x" * 32)
"""Symbols that a decoder of these tests has met before, so that the compiled parser knows them."""


class Records:
    """Values one behind the other, with nothing readable in between."""

    def __init__(self, values: Sequence[bytes | None], timestamp_ms: int = -1) -> None:
        self._values = values
        self._joined = np.frombuffer(b"".join(value or b"" for value in values) or b"\0", np.uint8)
        self.lengths = np.array([len(value or b"") for value in values], np.int64)
        self.addresses = self._joined.ctypes.data + np.cumsum(self.lengths) - self.lengths
        self.timestamps = np.full(len(values), timestamp_ms, np.int64)

    def value(self, record: int) -> bytes | None:
        return self._values[record]


def new_decoder(known: Sequence[str] = KNOWN) -> QuoteDecoder:
    """A decoder that accepts every symbol but those that begin with ``W``, which belong to another partition."""
    decoder = QuoteDecoder(lambda symbol: not symbol.startswith("W"), 5_000_000_000)
    for symbol in known:
        decoder.index.add(symbol)
    return decoder


Decoded = tuple[Any, ...]
"""(kind, symbol or feed, ts, the bits of the four numbers); (SKIP,) for a row that could not be used."""


def quote_row(symbol: str, ts: int, *prices: float) -> Decoded:
    """A quote as `decoded` shows it."""
    return QUOTE, symbol, ts, struct.pack("<4d", *prices)


def decoded(decoder: QuoteDecoder, values: Sequence[bytes | None]) -> tuple[list[Decoded], list[Reject]]:
    """Rows and rejects of a batch of records."""
    rejects = decoder.decode(Records(values))
    columns = decoder.columns
    return [_row(decoder, row) for row in range(len(columns))], rejects


def _row(decoder: QuoteDecoder, row: int) -> Decoded:
    columns = decoder.columns
    kind, number, ts = int(columns.kind[row]), int(columns.number[row]), int(columns.ts[row])
    if kind == SKIP:
        return (SKIP,)
    if kind in (CLOCK, END_CLOCK):
        return kind, decoder.feeds[number], ts
    return quote_row(decoder.index.symbols[number], ts, *(getattr(columns, name)[row] for name in columns.FLOATS))
