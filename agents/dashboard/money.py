"""Money at a glance: each symbol marked to its latest tick, the totals, and how net went."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence

import numpy as np

from schemas.records import Execution, Pnl, Position, Side, TickBidAsk

MOST_POINTS = 8_640


class Money:
    """Follows pnl, positions and ticks. `take_changes` gives the rows (of `tables.MONEY`) that have changed.

    What is known of the symbols stands in columns, so that totals over thousands of them are a few passes.
    """

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._shares, self._average_costs = array("d"), array("d")
        self._realised, self._fees = array("d"), array("d")
        self._marks, self._mark_times = array("d"), array("q")
        self._trades = array("q")
        self._changed = array("b")

    def on_pnl(self, pnl: Pnl) -> None:
        """Take up a symbol's ledger; its mark unless a later tick has been seen."""
        at = self._place(pnl.symbol)
        self._shares[at], self._average_costs[at] = pnl.shares, pnl.average_cost
        self._realised[at], self._fees[at] = pnl.realised, pnl.fees
        if pnl.mark_ts >= self._mark_times[at]:
            self._marks[at], self._mark_times[at] = pnl.mark, pnl.mark_ts
        self._changed[at] = 1

    def on_positions(self, positions: Iterable[Position]) -> None:
        """Take up the numbers of trades."""
        for position in positions:
            at = self._place(position.symbol)
            if self._trades[at] != position.trades:
                self._trades[at] = position.trades
                self._changed[at] = 1

    def on_ticks(self, ticks: Sequence[TickBidAsk]) -> None:
        """Mark symbols to ticks, each symbol's in order."""
        places = self._places
        known = [tick for tick in ticks if tick.symbol in places]
        if not known:
            return
        at = np.array([places[tick.symbol] for tick in known])
        ts = np.array([tick.ts for tick in known])
        mids = np.array([(tick.bid + tick.ask) * 0.5 for tick in known])
        times = np.frombuffer(self._mark_times, np.int64)
        newer = ts >= times[at]
        at = at[newer]
        times[at], np.frombuffer(self._marks)[at] = ts[newer], mids[newer]
        np.frombuffer(self._changed, np.int8)[at[np.frombuffer(self._shares)[at] != 0]] = 1

    def take_changes(self) -> dict[str, tuple[object, ...]]:
        """Rows that have changed since the last call, in the order of the symbols."""
        symbols, changed = list(self._places), np.flatnonzero(np.array(self._changed))
        self._changed = array("b", bytes(len(symbols)))
        return {symbol: self._row(symbol) for symbol in sorted(symbols[at] for at in changed)}

    def totals(self) -> dict[str, float | int | None]:
        """Sums over all symbols; `exposure` is long minus short, `gross` long plus short, dollars."""
        shares = np.array(self._shares)
        held = np.flatnonzero(shares)
        shares, marks = shares[held], np.array(self._marks)[held]
        exposures = shares * marks
        realised, fees = float(np.sum(self._realised)), float(np.sum(self._fees))
        unrealised = float(np.sum(shares * (marks - np.array(self._average_costs)[held])))
        return {
            "net": realised + unrealised - fees,
            "realised": realised,
            "unrealised": unrealised,
            "fees": fees,
            "exposure": float(np.sum(exposures)),
            "gross": float(np.sum(np.abs(exposures))),
            "trades": sum(self._trades),
            "symbols": len(held),
            "marked_ts": int(np.max(np.array(self._mark_times)[held])) if len(held) else None,
        }

    def _place(self, symbol: str) -> int:
        at = self._places.get(symbol)
        if at is None:
            at = self._places[symbol] = len(self._places)
            for column in (self._shares, self._average_costs, self._realised, self._fees):
                column.append(0.0)
            self._marks.append(math.nan)
            self._mark_times.append(0)
            self._trades.append(0)
            self._changed.append(0)
        return at

    def _row(self, symbol: str) -> tuple[object, ...]:
        at = self._places[symbol]
        shares, average_cost, mark = self._shares[at], self._average_costs[at], self._marks[at]
        realised, fees = self._realised[at], self._fees[at]
        unrealised, exposure = (shares * (mark - average_cost), shares * mark) if shares else (0.0, 0.0)
        return (
            symbol,
            realised + unrealised - fees,
            realised,
            unrealised,
            fees,
            shares,
            average_cost,
            mark,
            self._mark_times[at],
            exposure,
            self._trades[at],
        )


class EquityCurve:
    """Net over all symbols at the decision times that were seen.

    Between two executions a symbol's net changes by q·(mid − mid before), and a fill adds s·(mid − price) − fee. The
    sum of these changes is known from the executions of a while alone; what was before is the constant that makes the
    sum equal to the net that the portfolio agent publishes.
    """

    def __init__(self) -> None:
        self._changes: dict[int, float] = {}
        self._last: dict[str, tuple[int, float, float]] = {}  # ts, mid, sum of the symbol's changes
        self._published: dict[str, tuple[int, float]] = {}  # ts, net
        self._before: dict[str, float] = {"": 0.0}
        self._dirty: set[int] = set()
        self._forgotten = 0

    def on_execution(self, execution: Execution) -> None:
        """Add the change of net since the symbol's last execution."""
        symbol, mid = execution.symbol, execution.mid
        _, mid_before, total = self._last.get(symbol, (0, mid, 0.0))
        change = execution.position_before * (mid - mid_before) - execution.fee
        if execution.shares and execution.price is not None:
            signed = execution.shares if execution.side is Side.BUY else -execution.shares
            change += signed * (mid - execution.price)
        ts = execution.ts
        self._last[symbol] = (ts, mid, total + change)
        self._anchor(symbol)
        if ts <= self._forgotten:
            self._before[""] += change
            return
        self._changes[ts] = self._changes.get(ts, 0.0) + change
        self._dirty.add(ts)
        if len(self._changes) > MOST_POINTS:
            self._forget_oldest()

    def on_pnl(self, pnl: Pnl) -> None:
        """Learn what a symbol's net was before its first execution that was seen."""
        self._published[pnl.symbol] = (pnl.ts, pnl.net)
        self._anchor(pnl.symbol)

    def before(self) -> float:
        """Net before the first point."""
        return math.fsum(self._before.values())

    def forgotten(self) -> float:
        """Time (seconds) up to which points have become part of what was before; 0 for none."""
        return self._forgotten / 1e9

    def points(self) -> list[tuple[float, float]]:
        """Time (seconds) of every point and the change of net at it, in order."""
        return [(ts / 1e9, self._changes[ts]) for ts in sorted(self._changes)]

    def take_changes(self) -> list[tuple[float, float]]:
        """Points that are new or have changed since the last call."""
        dirty, self._dirty = self._dirty, set()
        return [(ts / 1e9, self._changes[ts]) for ts in sorted(dirty) if ts in self._changes]

    def _anchor(self, symbol: str) -> None:
        published_ts, net = self._published.get(symbol, (0, 0.0))
        ts, _, total = self._last.get(symbol, (published_ts, 0.0, 0.0))
        if ts == published_ts:
            self._before[symbol] = net - total

    def _forget_oldest(self) -> None:
        """Merge the oldest tenth into what was before."""
        for ts in sorted(self._changes)[: MOST_POINTS // 10]:
            self._before[""] += self._changes.pop(ts)
            self._forgotten = ts
