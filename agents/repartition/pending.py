"""Quotes that no agent has taken yet, put in the order of new partitions.

Rows of one symbol keep their order. A clock record promises something about the rows before it, so it passes on when
it has been reached in every old partition, and rows that stand behind it wait for that: no row becomes late that was
not, and none is used that would have been late.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np

from agents.repartition.state import FeedPlace, common
from agents.strategy.grid import LATEST_TS
from schemas.frames import FIRST_BYTE, FrameError, decode_frame, encode_frame
from schemas.partitioning import partition_of
from schemas.records import Clock, Quote
from schemas.times import EARLIEST_TS

_quote = msgspec.json.Decoder(Quote).decode
_clock = msgspec.json.Decoder(Clock).decode


@dataclass(frozen=True)
class Pending:
    """One record of quotes: key, value, Kafka's timestamp in ms."""

    key: bytes | None
    value: bytes | None
    timestamp: int


Placed = tuple[int, Pending]
"""A record and its new partition."""


@dataclass
class _Side:
    """One old partition."""

    partition: int
    records: Iterator[Pending]
    heard: dict[str, FeedPlace]
    ended: bool = False


@dataclass
class Merge:
    """Deals the records of old partitions out to new ones.

    heard: how far each feed has been heard in each old partition; future_ns: how far a clock may lie beyond its
    record's timestamp. left_behind counts records or parts of them that no agent could have used.
    """

    records: Mapping[int, Iterator[Pending]]
    heard: Mapping[int, Mapping[str, FeedPlace]]
    partitions: int
    future_ns: int
    left_behind: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[Placed]:
        """The records in an order in which they may be written."""
        self._sides = [_Side(p, iter(rows), dict(self.heard[p])) for p, rows in sorted(self.records.items())]
        self._shared = common(side.heard for side in self._sides)
        while working := [side for side in self._sides if not side.ended]:
            # Where all that go on are ahead, the others have nothing more to tell: theirs is the furthest promise.
            ready = [side for side in working if not self._is_ahead(side)] or working[:1]
            for side in ready:
                yield from self._until_clock(side)

    def _is_ahead(self, side: _Side) -> bool:
        return side.heard != self._shared

    def _until_clock(self, side: _Side) -> Iterator[Placed]:
        """The rows of a side up to and with its next clock record."""
        for record in side.records:
            value = record.value or b""
            if value[:1] == bytes([FIRST_BYTE]):
                yield from self._frame(side, record, value)
                continue
            told = _read(value)
            if isinstance(told, Quote) and self._belongs(side, told.symbol):
                yield partition_of(told.symbol, self.partitions), record
            elif isinstance(told, Clock) and self._is_plausible(told, record):
                place = told.clock, told.end
                side.heard[told.feed] = max(place, side.heard.get(told.feed, place))
                yield from self._passed_on(told.feed, record.timestamp)
                return
            else:
                self.left_behind += 1
        side.ended = True

    def _is_plausible(self, clock: Clock, record: Pending) -> bool:
        return EARLIEST_TS <= clock.clock <= min(LATEST_TS, record.timestamp * 1_000_000 + self.future_ns)

    def _passed_on(self, feed: str, timestamp: int) -> Iterator[Placed]:
        """The feed's clock, if it has risen in the last of the partitions."""
        before, self._shared = self._shared.get(feed), common(side.heard for side in self._sides)
        place = self._shared.get(feed)
        if place is not None and place != before:
            ts, closed = place
            value = msgspec.json.encode(Clock(clock=ts, feed=feed, end=closed))
            for partition in range(self.partitions):
                yield partition, Pending(None, value, timestamp)

    def _frame(self, side: _Side, record: Pending, value: bytes) -> Iterator[Placed]:
        try:
            batches = decode_frame(value)
        except FrameError:
            self.left_behind += 1
            return
        for symbols, numbers, ts, prices in batches:
            owned = [self._belongs(side, symbol) for symbol in symbols]
            targets = [partition_of(symbol, self.partitions) for symbol in symbols]
            of_row = np.array([t if own else -1 for t, own in zip(targets, owned, strict=True)])[numbers]
            for target in np.unique(of_row).tolist():
                rows = np.flatnonzero(of_row == target)
                if target < 0:
                    self.left_behind += len(rows)
                    continue
                used, places = np.unique(numbers[rows], return_inverse=True)
                names = [symbols[number] for number in used.tolist()]
                own_prices = [price[rows] for price in prices]
                part = encode_frame(names, places.astype(np.int32), ts[rows], own_prices)
                yield target, Pending(record.key if len(names) == 1 else None, part, record.timestamp)

    def _belongs(self, side: _Side, symbol: str) -> bool:
        return partition_of(symbol, len(self._sides)) == side.partition


def _read(value: bytes) -> Quote | Clock | None:
    """What a JSON record is to the agents, None if it is nothing."""
    for decode in (_quote, _clock):
        try:
            return decode(value)
        except (ValueError, RecursionError):
            continue
    return None
