"""What surveillance remembers: one row for each symbol and topic, with the offset applied last; and its windows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from schemas.records import Alert, OutcomeReason, SessionState, SignalReason

MINUTE_NS = 60_000_000_000
FIVE_MINUTES = 5


class Seen(msgspec.Struct, frozen=True):
    """Where and when a record came: partition, offset, and its Kafka timestamp in ms."""

    partition: int
    offset: int
    arrived: int


class Sums(msgspec.Struct, frozen=True, omit_defaults=True):
    """What happened in a stretch of time; turnover and realised in dollars, refused by reason."""

    trades: int = 0
    turnover: float = 0.0
    realised: float = 0.0
    decisions: int = 0
    refused: dict[str, int] = {}

    def plus(self, other: Sums) -> Sums:
        """Both together."""
        refused = self.refused
        if other.refused:
            refused = dict(refused)
            for reason, count in other.refused.items():
                refused[reason] = refused.get(reason, 0) + count
        return Sums(
            self.trades + other.trades,
            self.turnover + other.turnover,
            self.realised + other.realised,
            self.decisions + other.decisions,
            refused,
        )


Minutes = dict[int, Sums]
"""Sums by the start of their minute (ns of event time)."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What every table's rows have.

    at: offset of the record applied last, so that one that comes again is known;
    ts: its event time; arrived: its Kafka timestamp in ms; open: alerts that are raised, by rule.
    """

    at: int
    ts: int
    arrived: int
    open: dict[str, Alert] = {}


class TradesRow(Row, frozen=True, kw_only=True):
    """Trades of a symbol: since the beginning, and by minute."""

    total: Sums = Sums()
    minutes: Minutes = {}


class ExecutionsRow(Row, frozen=True, kw_only=True):
    """Decisions of a symbol and what came of them."""

    total: Sums = Sums()
    minutes: Minutes = {}
    quote_ts: int
    reason: OutcomeReason | None


class PnlRow(Row, frozen=True, kw_only=True):
    """Net of a symbol, and the highest it has been (0 at the start)."""

    net: float
    peak: float


class SignalsRow(Row, frozen=True, kw_only=True):
    """Whether a symbol is still being decided on, and how far its mid is from the average (sd; None: unknown)."""

    reason: SignalReason | None
    session: SessionState | None
    deviation: float | None


class OrdersRow(Row, frozen=True, kw_only=True):
    """Dollars of a symbol's position, and its limit (None: no control)."""

    exposure: float
    limit: float | None


class PartitionRow(Row, frozen=True, kw_only=True):
    """What concerns a partition as a whole; `at` counts its dead letters."""

    dead_letters: int = 0


def minute_of(ts: int) -> int:
    """Start of the minute that a ts lies in."""
    return ts // MINUTE_NS * MINUTE_NS


def add(minutes: Minutes, ts: int, sums: Sums, kept: int) -> Minutes:
    """Windows with `sums` added at ts; only the newest `kept` minutes of event time stay.

    >>> minutes = add({}, 5 * MINUTE_NS, Sums(trades=1), kept=3)
    >>> sorted(start // MINUTE_NS for start in add(minutes, 8 * MINUTE_NS, Sums(trades=1), kept=3))
    [8]
    """
    start = minute_of(ts)
    changed = {**minutes, start: minutes.get(start, Sums()).plus(sums)}
    oldest = max(changed) - (kept - 1) * MINUTE_NS
    return {at: changed[at] for at in sorted(changed) if at >= oldest}


def window(minutes: Mapping[int, Sums], last: int, count: int) -> Sums:
    """Sums of `count` minutes, the one that starts at `last` being the newest."""
    total = Sums()
    for back in range(count - 1, -1, -1):
        total = total.plus(minutes.get(last - back * MINUTE_NS, Sums()))
    return total


def merged(many: Iterable[Mapping[int, Sums]]) -> Minutes:
    """Windows of several symbols or tables as one."""
    result: Minutes = {}
    for minutes in many:
        for start, sums in minutes.items():
            result[start] = result.get(start, Sums()).plus(sums)
    return result
