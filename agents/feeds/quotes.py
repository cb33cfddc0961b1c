"""Quotes as feeds hold them: columns of many rows, whether read from files or made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

WHOLE, CUT, FIELD_MISSING = 0, 1, 2
"""What `Quotes.defect` says of a row: none, a record that breaks off, a record without its last field."""


TS_NAMES = ("ts", "ts_ns")
"""What the column of times is called in files; where a file has both, the first."""

FUTURE_NS = 5_000_000_000
"""How far agents with default settings believe a ts that lies beyond its record's Kafka timestamp."""


@dataclass(frozen=True)
class Quotes:
    """Rows of one feed in the order in which they are sent.

    symbols: every symbol the feed has named so far; one list for all chunks of a feed, which only grows.
    number: int32, each row's place in `symbols`; ts: int64 ns; bid, bid_size, ask, ask_size: float64.
    promise: int64 ns, what a clock may say before the row: no row from it on has a smaller ts (late rows break
    it, which is what makes them late). defect: uint8, how the row's record is to be broken (`WHOLE`, …).
    exchange_ts: int64 ns, the exchange's own time beside ts, 0 where it is not known; None: of no row.
    """

    symbols: Sequence[str]
    number: np.ndarray
    ts: np.ndarray
    bid: np.ndarray
    bid_size: np.ndarray
    ask: np.ndarray
    ask_size: np.ndarray
    promise: np.ndarray
    defect: np.ndarray
    exchange_ts: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def prices(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The columns bid, bid_size, ask, ask_size."""
        return self.bid, self.bid_size, self.ask, self.ask_size

    def take(self, rows: slice | np.ndarray) -> Quotes:
        """Some of the rows, by place."""
        columns: list[Any] = [getattr(self, name)[rows] for name in COLUMNS]
        columns.append(None if self.exchange_ts is None else self.exchange_ts[rows])
        return Quotes(self.symbols, *columns)


COLUMNS = tuple(field.name for field in fields(Quotes))[1:-1]
"""The names of the columns that every feed has: all but `symbols` and `exchange_ts`."""


def sorted_quotes(symbols: Sequence[str], number: np.ndarray, ts: np.ndarray, prices: Sequence[np.ndarray]) -> Quotes:
    """Rows without defects, sorted by ts: each promises its own ts. prices: bid, bid_size, ask, ask_size."""
    bid, bid_size, ask, ask_size = prices
    return Quotes(symbols, number, ts, bid, bid_size, ask, ask_size, ts, np.zeros(len(ts), np.uint8))


def concatenate(chunks: Sequence[Quotes]) -> Quotes:
    """The rows of chunks of one feed (at least one), one chunk after the other."""
    if len(chunks) == 1:
        return chunks[0]
    columns: list[Any] = [np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in COLUMNS]
    columns.append(_exchange_times(chunks))
    return Quotes(chunks[-1].symbols, *columns)


def _exchange_times(chunks: Sequence[Quotes]) -> np.ndarray | None:
    if all(chunk.exchange_ts is None for chunk in chunks):
        return None
    unknown = (np.zeros(len(chunk), np.int64) for chunk in chunks)
    return np.concatenate([z if c.exchange_ts is None else c.exchange_ts for c, z in zip(chunks, unknown, strict=True)])
