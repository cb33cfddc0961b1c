"""Money at a glance: each symbol marked to its latest tick, the totals, and how net went."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from schemas.records import Execution, Pnl, Position, Side, TickBidAsk

MOST_POINTS = 8_640


@dataclass(slots=True)
class _Desk:
    """What is known of one symbol."""

    shares: float = 0.0
    average_cost: float = 0.0
    realised: float = 0.0
    fees: float = 0.0
    trades: int = 0
    mark: float = math.nan
    mark_ts: int = 0

    @property
    def unrealised(self) -> float:
        return self.shares * (self.mark - self.average_cost) if self.shares else 0.0

    @property
    def exposure(self) -> float:
        return self.shares * self.mark if self.shares else 0.0


class Money:
    """Follows pnl, positions and ticks. `take_changes` gives the rows (of `tables.MONEY`) that have changed."""

    def __init__(self) -> None:
        self._desks: dict[str, _Desk] = {}
        self._changed: set[str] = set()

    def on_pnl(self, pnl: Pnl) -> None:
        """Take up a symbol's ledger; its mark unless a later tick has been seen."""
        desk = self._desk(pnl.symbol)
        desk.shares, desk.average_cost = pnl.shares, pnl.average_cost
        desk.realised, desk.fees = pnl.realised, pnl.fees
        if pnl.mark_ts >= desk.mark_ts:
            desk.mark, desk.mark_ts = pnl.mark, pnl.mark_ts
        self._changed.add(pnl.symbol)

    def on_positions(self, positions: Iterable[Position]) -> None:
        """Take up the numbers of trades."""
        for position in positions:
            desk = self._desk(position.symbol)
            if desk.trades != position.trades:
                desk.trades = position.trades
                self._changed.add(position.symbol)

    def on_ticks(self, ticks: Iterable[TickBidAsk]) -> None:
        """Mark symbols to ticks."""
        desks = self._desks
        for tick in ticks:
            desk = desks.get(tick.symbol)
            if desk is not None and tick.ts >= desk.mark_ts:
                desk.mark, desk.mark_ts = (tick.bid + tick.ask) * 0.5, tick.ts
                if desk.shares:
                    self._changed.add(tick.symbol)

    def take_changes(self) -> list[tuple[str, tuple[object, ...]]]:
        """Rows that have changed since the last call."""
        changed, self._changed = self._changed, set()
        return [(symbol, self._row(symbol, self._desks[symbol])) for symbol in sorted(changed)]

    def totals(self) -> dict[str, float | int | None]:
        """Sums over all symbols; `exposure` is long minus short, `gross` long plus short, dollars."""
        desks = list(self._desks.values())
        # Lists, and each value worked out once: with thousands of symbols this is most of what a frame costs.
        held = [desk for desk in desks if desk.shares]
        exposures = [desk.shares * desk.mark for desk in held]
        realised, fees = math.fsum([desk.realised for desk in desks]), math.fsum([desk.fees for desk in desks])
        unrealised = math.fsum([desk.shares * (desk.mark - desk.average_cost) for desk in held])
        return {
            "net": realised + unrealised - fees,
            "realised": realised,
            "unrealised": unrealised,
            "fees": fees,
            "exposure": math.fsum(exposures),
            "gross": math.fsum(map(abs, exposures)),
            "trades": sum([desk.trades for desk in desks]),
            "symbols": len(held),
            "marked_ts": max([desk.mark_ts for desk in held], default=None),
        }

    def _desk(self, symbol: str) -> _Desk:
        desk = self._desks.get(symbol)
        if desk is None:
            desk = self._desks[symbol] = _Desk()
        return desk

    @staticmethod
    def _row(symbol: str, desk: _Desk) -> tuple[object, ...]:
        unrealised = desk.unrealised
        return (
            symbol,
            desk.realised + unrealised - desk.fees,
            desk.realised,
            unrealised,
            desk.fees,
            desk.shares,
            desk.average_cost,
            desk.mark,
            desk.mark_ts,
            desk.exposure,
            desk.trades,
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
        self._before: dict[str, float] = {}
        self._dirty: set[int] = set()

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
        self._changes[ts] = self._changes.get(ts, 0.0) + change
        self._dirty.add(ts)
        self._anchor(symbol)
        if len(self._changes) > MOST_POINTS:
            self._forget_oldest()

    def on_pnl(self, pnl: Pnl) -> None:
        """Learn what a symbol's net was before its first execution that was seen."""
        self._published[pnl.symbol] = (pnl.ts, pnl.net)
        self._anchor(pnl.symbol)

    def before(self) -> float:
        """Net before the first point."""
        return math.fsum(self._before.values())

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
            self._before[""] = self._before.get("", 0.0) + self._changes.pop(ts)
