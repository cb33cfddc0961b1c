"""Fills with latency: decide at B, fill at the quote in force at B + latency, unless the edge is gone by then."""

from __future__ import annotations

import msgspec
import numpy as np

from agents.backtest.mids import Mids
from agents.strategy import grid
from agents.strategy.desk import Desk
from agents.strategy.grid import BUY, HOLD, SELL
from agents.strategy.session import Calendar
from agents.strategy.settings import Marks, Settings
from schemas.columns import CLOCK, Columns

_QUOTE = ("quote_ts", "bid", "bid_size", "ask", "ask_size")


class Delay:
    """The same quotes through a second desk whose times are earlier by the latency.

    Its decision at B thereby shows the quote that is in force at B + latency, by the very rule of the strategy, and its
    mark at B + 1 s what is in force a second after the fill.
    """

    def __init__(self, settings: Settings, symbols: int, latency_ns: int, markouts: bool) -> None:
        self._symbols = symbols
        self._latency_ns = latency_ns
        marks = Marks.GRID if markouts else Marks.OFF
        plain = msgspec.structs.replace(settings, marks=marks, mark_seconds=1, max_quote_age_seconds=None, session=None)
        self._desk = Desk(plain, Calendar())
        self._desk.grow(symbols)
        self._desk.interest[:symbols] = grid.LISTED
        self._earlier = Columns(1)
        self._found: list[np.ndarray] = []
        self._mids = Mids()

    def state(self) -> np.ndarray:
        """What the next date needs: `grid.ROW` per symbol."""
        return self._desk.rows[: self._symbols]

    def load(self, rows: np.ndarray) -> None:
        """Go on from a state."""
        self._desk.rows[: self._symbols] = rows

    def take(self, columns: Columns) -> None:
        """Take some rows."""
        earlier = self._earlier
        for name, values in vars(columns).items():
            setattr(earlier, name, values)
        earlier.ts = columns.ts - self._latency_ns
        self._advance(earlier)

    def finish(self, ts: int) -> tuple[np.ndarray, Mids]:
        """End a date at an event time: an order that is still on its way meets the last quote.

        Returns the quotes that the date's orders met: `EVENT`[n], in the order of their ts for each symbol; and the
        mids by the second desk's times.
        """
        clock = Columns(1)
        clock.kind[0], clock.ts[0], clock.length = CLOCK, ts, 1
        self._advance(clock)
        # The clock was not moved by the latency: rows of the next date may lie before it.
        self._desk.clock = 0
        self._desk.feed_open[0] = False
        found, mids = self._found, self._mids
        self._found, self._mids = [], Mids()
        quotes = np.concatenate(found) if found else np.zeros(0, grid.EVENT)
        quotes["quote_ts"] += self._latency_ns
        return quotes, mids

    def _advance(self, columns: Columns) -> None:
        for events in self._desk.advance(columns, 1):
            self._found.append(self._mids.take(events))


def delayed(decisions: np.ndarray, quotes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decisions (`EVENT`[n]) with the quotes that their orders meet, and which of them are cancelled (bool[n]).

    A verdict whose price is no longer beyond the threshold of its decision becomes a cancelled HOLD. What is closed
    without an edge (a closing control, the session's end) is filled at whatever price is met.
    """
    decisions = decisions.copy()
    quotes = quotes[np.argsort(_keys(quotes), kind="stable")]
    keys, wanted = _keys(quotes), _keys(decisions)
    at = np.searchsorted(keys, wanted)
    met = (np.append(keys, -1)[at] == wanted) & (decisions["kind"] == grid.DECISION)
    for name in _QUOTE:
        decisions[name][met] = quotes[name][at[met]]
    buys = decisions["buy"] & (decisions["ask"] < decisions["buy_below"])
    sells = decisions["sell"] & (decisions["bid"] > decisions["sell_above"])
    verdict = decisions["verdict"]
    cancelled = ((verdict == BUY) & ~buys) | ((verdict == SELL) & ~sells)
    decisions["buy"], decisions["sell"] = buys, sells
    decisions["verdict"] = np.where(cancelled, HOLD, verdict)
    return decisions, cancelled


def _keys(events: np.ndarray) -> np.ndarray:
    """One number for each (symbol, ts) that orders by symbol, then ts."""
    seconds = events["ts"] // 1_000_000_000
    keys: np.ndarray = (events["number"].astype(np.int64) << 40) | seconds
    return keys
