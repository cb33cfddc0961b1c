"""One setting of the strategy on one block of symbols: chunks of quotes in, what came of them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np

from agents.backtest import kernel
from agents.backtest.controls import Timeline
from agents.backtest.latency import Delay, delayed
from agents.backtest.mids import Mids
from agents.strategy import grid
from agents.strategy.desk import Desk
from agents.strategy.execution import INTENT, NONE, RESULT, execute
from agents.strategy.ledger import LEDGER, NOT_LATCHED
from agents.strategy.session import Calendar
from agents.strategy.settings import Marks, Settings
from schemas.columns import CLOCK, END_CLOCK, Columns
from schemas.times import NS

EQUITY_STEP_NS = 60 * NS
HORIZONS_SECONDS = (1, 10, 60)
"""After how long the price is looked at again, to see how it moved after a trade."""


@dataclass(frozen=True)
class Options:
    """How fills and outputs are made, beside the strategy's settings.

    latency_ns: fill at the quote in force so long after the decision, if it still is beyond the threshold;
    markouts: look at the price after each trade; all_executions: keep those that came to nothing, too.
    """

    latency_ns: int = 0
    markouts: bool = True
    all_executions: bool = False


@dataclass
class Acted:
    """Signals of which something came, column for column: `EVENT`, `INTENT`, `RESULT`; cancelled: bool."""

    events: np.ndarray
    intents: np.ndarray
    results: np.ndarray
    cancelled: np.ndarray


@dataclass
class DateResult:
    """What one date brought; arrays per symbol of the block where not said otherwise.

    acted: signals of which something came; markouts: float64[trades, horizons], the mid then (NaN: not known);
    days: `kernel.DAY`; net_before, net: dollars; equity: float64[steps], of the whole block.
    """

    acted: Acted
    markouts: np.ndarray
    days: np.ndarray
    last: np.ndarray
    ledgers: np.ndarray
    net_before: np.ndarray
    net: np.ndarray
    unrealised: np.ndarray
    equity: np.ndarray
    counts: np.ndarray


@dataclass
class _Collected:
    """What the chunks of a date have brought so far."""

    decisions: list[np.ndarray] = field(default_factory=list)  # with latency: those that wait for the day's end
    acted: list[Acted] = field(default_factory=list)
    mids: Mids = field(default_factory=Mids)


class Variant:
    """The state of one setting for a block of numbered symbols; dates come in their order."""

    def __init__(self, settings: Settings, calendar: Calendar, timeline: Timeline, options: Options) -> None:
        self.settings = settings
        self._timeline = timeline
        self._options = options
        self._symbols = symbols = len(timeline.interest)
        # With latency the marks that are looked at are those of the delay.
        marks = Marks.GRID if options.markouts and not options.latency_ns else Marks.OFF
        kernel_settings = msgspec.structs.replace(settings, marks=marks, mark_seconds=1)
        self._desk = Desk(kernel_settings, calendar)
        self._desk.grow(symbols)
        self._desk.interest[:symbols] = timeline.interest
        self._delay = Delay(settings, symbols, options.latency_ns, options.markouts) if options.latency_ns else None
        self._ledgers = np.zeros(symbols, LEDGER)
        self._ledgers["latched_version"] = NOT_LATCHED
        self._portfolio = np.zeros(symbols, LEDGER)
        self._listed = np.zeros(symbols, np.bool_)
        self._last = np.zeros(symbols, kernel.LAST)
        self._net = np.zeros(symbols)
        self._unrealised = np.zeros(symbols)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that the next date needs."""
        desk = self._desk
        state = {
            "rows": desk.rows[: self._symbols],
            "counts": desk.counts,
            "clock": np.array([desk.clock, desk.feed_ts[0], desk.feed_open[0]], np.int64),
            "ledgers": self._ledgers,
            "portfolio": self._portfolio,
            "listed": self._listed,
            "last": self._last,
            "net": self._net,
            "unrealised": self._unrealised,
        }
        return state | ({"delayed": self._delay.state()} if self._delay else {})

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a state."""
        desk = self._desk
        desk.rows[: self._symbols] = state["rows"]
        desk.counts[:] = state["counts"]
        desk.clock, desk.feed_ts[0], desk.feed_open[0] = state["clock"].tolist()
        for name in ("ledgers", "portfolio", "listed", "last", "net", "unrealised"):
            getattr(self, f"_{name}")[:] = state[name]
        if self._delay:
            self._delay.load(state["delayed"])

    def begin(self, first_ts: int, last_ts: int) -> None:
        """Begin a date whose rows have ts in first_ts..last_ts."""
        self._start = first_ts // EQUITY_STEP_NS * EQUITY_STEP_NS
        self._end = last_ts
        steps = (last_ts - self._start) // EQUITY_STEP_NS + 1
        self._equity = np.full((self._symbols, steps), np.nan)
        self._days = np.zeros(self._symbols, kernel.DAY)
        self._net_before = self._net.copy()
        self._counts_before = self._desk.counts.copy()
        self._collected = _Collected()

    def take(self, columns: Columns) -> None:
        """Take some of the date's rows."""
        for events in self._desk.advance(columns, 1):
            self._note(events)
        if self._delay:
            self._delay.take(columns)

    def finish(self, final: bool) -> DateResult:
        """End the date; final: there is no other one after it."""
        for events in self._desk.advance(_clock(self._end, final), 1):
            self._note(events)
        if self._delay:
            quotes, self._collected.mids = self._delay.finish(self._end)
            decisions = _joined(self._collected.decisions, grid.EVENT)
            self._execute(decisions, *delayed(decisions, quotes))
        acted = _join_acted(self._collected.acted)
        return DateResult(
            acted=acted,
            markouts=self._markouts(acted),
            days=self._days,
            last=self._last.copy(),
            ledgers=self._ledgers.copy(),
            net_before=self._net_before,
            net=self._net.copy(),
            unrealised=self._unrealised.copy(),
            equity=self._block_equity(),
            counts=self._desk.counts - self._counts_before,
        )

    def _note(self, events: np.ndarray) -> None:
        decisions = self._collected.mids.take(events)
        if self._delay:
            self._collected.decisions.append(decisions)
        else:
            self._execute(decisions, decisions, np.zeros(len(decisions), np.bool_))

    def _execute(self, decisions: np.ndarray, met: np.ndarray, cancelled: np.ndarray) -> None:
        """Execute decisions at the quotes that their orders met (both `EVENT`[n]); cancelled: bool[n]."""
        intents = np.empty(len(met), INTENT)
        kept = np.empty(len(met), np.int64)
        timeline = self._timeline
        n = kernel.intents_of(met, timeline.first, timeline.start, timeline.template, self._listed, intents, kept)
        intents, kept = intents[:n], kept[:n]
        results, _ = execute(intents, self._ledgers, self.settings)
        rows = np.empty(n, kernel.PNL_ROW)
        kernel.book(
            decisions,
            intents,
            results,
            cancelled,
            kept,
            self._portfolio,
            rows,
            self._days,
            self._last,
            self._equity,
            self._start,
            EQUITY_STEP_NS,
        )
        numbers = intents["number"]
        self._net[numbers] = rows["net"]
        self._unrealised[numbers] = rows["unrealised"]
        lost = cancelled[kept]
        chosen = (results["outcome"] != NONE) | lost
        if self._options.all_executions:
            chosen[:] = True
        if chosen.any():
            self._collected.acted.append(Acted(met[kept[chosen]], intents[chosen], results[chosen], lost[chosen]))

    def _markouts(self, acted: Acted) -> np.ndarray:
        """The mid of the trades' symbols after each horizon; NaN where the date ends before."""
        traded = acted.results["units"] != 0
        trades = acted.events[traded]
        if not len(trades) or not self._options.markouts:
            return np.full((len(trades), len(HORIZONS_SECONDS)), np.nan)
        found = self._collected.mids.after(trades, HORIZONS_SECONDS)
        then = (trades["ts"] + self._options.latency_ns)[:, None] + np.array(HORIZONS_SECONDS) * NS
        return np.where(then <= self._end, found, np.nan)

    def _block_equity(self) -> np.ndarray:
        """Net of all symbols at each step: each symbol's last one, before its first that of the date before."""
        equity = self._equity
        equity[:, 0] = np.where(np.isnan(equity[:, 0]), self._net_before, equity[:, 0])
        latest = np.maximum.accumulate(np.where(np.isnan(equity), 0, np.arange(equity.shape[1])), axis=1)
        total: np.ndarray = np.take_along_axis(equity, latest, axis=1).sum(axis=0)
        return total


def _clock(ts: int, final: bool) -> Columns:
    columns = Columns(1)
    columns.kind[0] = END_CLOCK if final else CLOCK
    columns.ts[0] = ts
    columns.length = 1
    return columns


def _joined(arrays: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype)


def _join_acted(parts: list[Acted]) -> Acted:
    return Acted(
        _joined([part.events for part in parts], grid.EVENT),
        _joined([part.intents for part in parts], INTENT),
        _joined([part.results for part in parts], RESULT),
        _joined([part.cancelled for part in parts], np.dtype(np.bool_)),
    )
