"""What the pages show, computed from rows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from agents.surveillance.rows import (
    FIVE_MINUTES,
    MINUTE_NS,
    ExecutionsRow,
    Minutes,
    Row,
    Sums,
    TradesRow,
    merged,
    minute_of,
    window,
)
from schemas.records import Alert, Severity
from schemas.times import rfc3339

_URGENCY = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of one window; start: its first ns."""

    start: int
    time: str
    seconds: int
    trades: int
    turnover: float
    realised: float
    decisions: int
    refused: dict[str, int]


def window_of(start: int, minutes: int, sums: Sums) -> Window:
    """A window for people and programs."""
    return Window(
        start=start,
        time=rfc3339(start),
        seconds=60 * minutes,
        trades=sums.trades,
        turnover=sums.turnover,
        realised=sums.realised,
        decisions=sums.decisions,
        refused=sums.refused,
    )


def tumbling(minutes: Minutes) -> list[Window]:
    """Every minute in which something happened, oldest first."""
    return [window_of(start, 1, minutes[start]) for start in sorted(minutes)]


def hopping(minutes: Minutes) -> list[Window]:
    """Five minutes, hopping by one, for each minute in which something happened, if all five are kept."""
    first = min(minutes, default=0) + (FIVE_MINUTES - 1) * MINUTE_NS
    return [five_minutes(minutes, last) for last in sorted(minutes) if last >= first]


def five_minutes(minutes: Minutes, last: int) -> Window:
    """The five minutes of which the one that starts at `last` is the newest."""
    return window_of(last - (FIVE_MINUTES - 1) * MINUTE_NS, FIVE_MINUTES, window(minutes, last, FIVE_MINUTES))


class Activity(msgspec.Struct, frozen=True):
    """Minutes and totals by symbol, of trades and executions together, and the newest event time (None: none)."""

    minutes: dict[str, Minutes]
    totals: dict[str, Sums]
    event_time: int | None

    @property
    def newest_minute(self) -> int:
        """Start of the minute of the newest event."""
        return minute_of(self.event_time or 0)


def activity(trades: Mapping[str, TradesRow], executions: Mapping[str, ExecutionsRow], kept: int) -> Activity:
    """The two tables as one; of the newest `kept` minutes of the desk, whatever older ones a quiet symbol has."""
    by_symbol: dict[str, list[TradesRow | ExecutionsRow]] = {}
    for symbol in sorted({*trades, *executions}):
        by_symbol[symbol] = [row for row in (trades.get(symbol), executions.get(symbol)) if row is not None]
    newest = max((row.ts for rows in by_symbol.values() for row in rows), default=None)
    oldest = minute_of(newest or 0) - (kept - 1) * MINUTE_NS
    minutes: dict[str, Minutes] = {}
    totals: dict[str, Sums] = {}
    for symbol, rows in by_symbol.items():
        together = merged(row.minutes for row in rows)
        minutes[symbol] = {start: sums for start, sums in together.items() if start >= oldest}
        totals[symbol] = Sums()
        for row in rows:
            totals[symbol] = totals[symbol].plus(row.total)
    return Activity(minutes, totals, newest)


def overview(seen: Activity) -> dict[str, Any]:
    """The desk's windows in full, and the newest of each symbol."""
    last = seen.newest_minute
    together = merged(seen.minutes.values())
    ever = Sums()
    for sums in seen.totals.values():
        ever = ever.plus(sums)
    return {
        "event_time": seen.event_time,
        "total": {"minutes": tumbling(together), "five_minutes": hopping(together), "ever": ever_of(ever)},
        "symbols": {
            symbol: {
                "minute": window_of(last, 1, minutes.get(last, Sums())),
                "five_minutes": five_minutes(minutes, last),
                "ever": ever_of(seen.totals[symbol]),
            }
            for symbol, minutes in seen.minutes.items()
        },
    }


def of_symbol(seen: Activity, symbol: str) -> dict[str, Any]:
    """Every window of one symbol."""
    minutes = seen.minutes.get(symbol, {})
    return {
        "event_time": seen.event_time,
        "symbol": symbol,
        "minutes": tumbling(minutes),
        "five_minutes": hopping(minutes),
        "ever": ever_of(seen.totals.get(symbol, Sums())),
    }


def ever_of(sums: Sums) -> dict[str, Any]:
    """Sums with every field, also those that are 0."""
    return {name: getattr(sums, name) for name in sums.__struct_fields__}


def open_alerts(tables: Mapping[str, Mapping[str, Row]]) -> list[Alert]:
    """Alerts that are raised, the most urgent first, then the newest."""
    found = [alert for rows in tables.values() for row in rows.values() for alert in row.open.values()]
    return sorted(found, key=lambda alert: (_URGENCY[alert.severity], -alert.ts, alert.id))
