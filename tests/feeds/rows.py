"""Rows, files and sinks for the tests of the feeds."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from agents.feeds.quotes import Quotes, sorted_quotes
from agents.feeds.wire import Record
from schemas.frames import FIRST_BYTE, decode_frame
from schemas.records import Clock, Quote

SYMBOLS = [f"S{i:04d}" for i in range(8)]
HEADER = "ts_ns,symbol,bid,bid_size,ask,ask_size"
T0 = 1_700_000_000_000_000_000


class Row(NamedTuple):
    symbol: str
    ts: int
    bid: float
    bid_size: float
    ask: float
    ask_size: float


@dataclass
class ListSink:
    """Keeps what was sent, by partition."""

    partitions: int
    records: dict[int, list[tuple[bytes | None, bytes]]] = field(default_factory=dict)

    def send(self, records: Iterable[Record]) -> None:
        for partition, key, value in records:
            self.records.setdefault(partition, []).append((key, value))

    def content(self, partition: int) -> list[Row | Clock]:
        return [each for _, value in self.records.get(partition, []) for each in content(value)]


def content(value: bytes) -> list[Row | Clock]:
    """The rows of a record, or its clock."""
    if value[0] == FIRST_BYTE:
        return [
            Row(symbols[number], *rest)
            for symbols, numbers, ts, prices in decode_frame(value)
            for number, *rest in zip(numbers.tolist(), ts.tolist(), *(p.tolist() for p in prices), strict=True)
        ]
    if b'"clock"' in value:
        return [msgspec.json.decode(value, type=Clock)]
    quote = msgspec.json.decode(value, type=Quote)
    return [Row(quote.symbol, quote.ts, quote.bid, quote.bid_size, quote.ask, quote.ask_size)]


def quotes_of(rows: Sequence[Row], symbols: list[str] = SYMBOLS) -> Quotes:
    """Rows that are sorted by ts, as columns."""
    number = np.array([symbols.index(row.symbol) for row in rows], np.int32)
    ts = np.array([row.ts for row in rows], np.int64)
    return sorted_quotes(symbols, number, ts, [np.array([row[i] for row in rows], np.float64) for i in (2, 3, 4, 5)])


def rows_of(quotes: Quotes) -> list[Row]:
    """Columns as rows."""
    columns = (quotes.ts.tolist(), *(column.tolist() for column in quotes.prices))
    return [Row(quotes.symbols[n], *rest) for n, *rest in zip(quotes.number.tolist(), *columns, strict=True)]


def row(number: int, ts: int, bid: float = 10.0) -> Row:
    """A plain row of the symbol with that number."""
    return Row(SYMBOLS[number], ts, bid, 100.0, bid + 0.25, 300.0)


def write_csv(path: Path, rows: Iterable[Row], header: str = HEADER) -> Path:
    """A CSV file, gzipped if its name says so."""
    lines = [header, *(f"{r.ts},{r.symbol},{r.bid!r},{r.bid_size!r},{r.ask!r},{r.ask_size!r}" for r in rows)]
    text = "\n".join(lines).encode() + b"\n"
    path.write_bytes(gzip.compress(text) if path.name.endswith(".gz") else text)
    return path
