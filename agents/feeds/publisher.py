"""One feed's stream into ``quotes``: its rows, and the clock records it owes to every partition."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import orjson

from agents.feeds.quotes import FUTURE_NS, Quotes
from agents.feeds.wire import Record, Symbols, Wire, encoder
from schemas.times import EARLIEST_TS, NS

_LONGEST_GAP_SECONDS = 24 * 3600  # decision times further than this behind a quote are skipped by every agent


class Sink(Protocol):
    """Where records go."""

    partitions: int

    def send(self, records: Iterable[Record]) -> None:
        """Take records, in order."""
        ...


class QuotePublisher:
    """Sends rows with a clock record to every partition each second of event time.

    A clock goes out before the first row that promises at least its ts, and frames end where a clock goes out: so
    no row comes after a clock that it contradicts, and in both wire formats each partition has the same content.
    Across a gap of more than a day only the last second has a clock, for the seconds beyond the first day. A ts
    that no agent believes (before 1980, ahead of this machine's clock) moves no clock.
    """

    def __init__(self, sink: Sink, feed: str, wire: Wire) -> None:
        self._sink = sink
        self._feed = feed
        self._encoder = encoder(wire)
        self._symbols = Symbols(sink.partitions)
        self._second: int | None = None  # of the last clock
        self._latest_ts: int | None = None
        self.quotes = 0

    @property
    def latest_ts(self) -> int | None:
        """The largest plausible ts that was sent, in a row or a clock; None before the first."""
        return self._latest_ts

    def publish(self, quotes: Quotes) -> None:
        """Send rows, each after the clocks that are due before it."""
        if not len(quotes):
            return
        self._symbols.follow(quotes.symbols)
        before = -1 if self._second is None else self._second
        promised = np.where(_plausible(quotes.promise), quotes.promise // NS, before)
        cuts = np.flatnonzero(np.diff(np.maximum.accumulate(np.maximum(promised, before)), prepend=before))
        pieces = self._encoder.pieces(quotes, self._symbols, cuts)
        self._sink.send(next(pieces))
        for cut, records in zip(cuts.tolist(), pieces, strict=True):
            self.advance(int(quotes.promise[cut]))
            self._sink.send(records)
        self._note(int(quotes.ts.max(initial=0, where=_plausible(quotes.ts))))
        self.quotes += len(quotes)

    def advance(self, ts: int) -> None:
        """Promise that no row before ts follows: a clock for each whole second up to it."""
        second = ts // NS
        if self._second is not None and second <= self._second:
            return
        for due in self._seconds_to(second):
            self._sink.send(self._clocks({"clock": due * NS, "feed": self._feed}))
        self._second = second
        self._note(second * NS)

    def end(self) -> None:
        """Close the feed with its largest ts; nothing may follow. A feed that sent nothing stays silent."""
        if self._latest_ts is not None:
            self._sink.send(self._clocks({"clock": self._latest_ts, "feed": self._feed, "end": True}))

    def _seconds_to(self, second: int) -> Iterator[int]:
        first = second if self._second is None else self._second + 1
        yield from range(first, min(second, first + _LONGEST_GAP_SECONDS))
        yield second

    def _clocks(self, clock: dict[str, object]) -> list[Record]:
        value = orjson.dumps(clock)
        return [(partition, None, value) for partition in range(self._sink.partitions)]

    def _note(self, ts: int) -> None:
        if ts > (self._latest_ts or 0):
            self._latest_ts = ts


def _plausible(ts: np.ndarray) -> np.ndarray:
    return (ts >= EARLIEST_TS) & (ts <= time.time_ns() + FUTURE_NS)
