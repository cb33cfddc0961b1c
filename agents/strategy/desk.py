"""The strategy's state for the symbols of one partition, and its rows' way through the kernels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from agents.strategy import grid
from agents.strategy.runs import MOST_ROWS
from agents.strategy.session import Calendar
from agents.strategy.settings import Marks, Settings
from schemas.columns import Columns
from schemas.decoding import MAX_FEEDS
from schemas.times import NS

_MARKS = {Marks.OFF: grid.MARKS_OFF, Marks.GRID: grid.MARKS_GRID, Marks.EVERY: grid.MARKS_EVERY}
_NOT_ASKED = np.zeros(0, np.bool_)


class Desk:
    """State of the strategy for the symbols of one partition, numbered from 0 by the caller.

    rows: `grid.ROW`[n]; interest: uint8[n], `grid.IGNORED` until the caller says otherwise; clock: ns, 0 before the
    first; counts: int64, named by `grid.COUNTERS`; touched: bool, blocks of `grid.BLOCK` symbols that have changed
    since the caller cleared it.
    """

    def __init__(self, settings: Settings, calendar: Calendar, events: int = 4096) -> None:
        self.settings = settings
        self.calendar = calendar
        self.size = 0
        self.rows = np.zeros(grid.BLOCK, grid.ROW)
        self.interest = np.zeros(grid.BLOCK, np.uint8)
        self.touched = np.zeros(1, np.bool_)
        self.counts = np.zeros(len(grid.COUNTERS), np.int64)
        self.feed_ts = np.zeros(MAX_FEEDS, np.int64)
        self.feed_open = np.zeros(MAX_FEEDS, np.bool_)
        self._clock = np.zeros(1, np.int64)
        self._events = np.zeros(events, grid.EVENT)
        self._weights = np.zeros(MOST_ROWS)
        self._parameters = np.zeros(1, grid.PARAMETERS)[0]
        self._fill_parameters()

    @property
    def clock(self) -> int:
        """The partition's clock in ns, 0 before the first clock record."""
        return int(self._clock[0])

    @clock.setter
    def clock(self, ts: int) -> None:
        self._clock[0] = ts

    def grow(self, symbols: int) -> None:
        """Make room for symbols numbered below `symbols`; the blocks of new ones count as touched."""
        first_new, self.size = self.size, max(self.size, symbols)
        self._make_room(symbols)
        # Even without a usable quote: a table that lacked a symbol would number those after it anew.
        self.touched[first_new // grid.BLOCK : -(-self.size // grid.BLOCK)] |= self.size > first_new

    def _make_room(self, symbols: int) -> None:
        capacity = len(self.rows)
        if symbols <= capacity:
            return
        while capacity < symbols:
            capacity *= 2
        for name in ("rows", "interest"):
            old = getattr(self, name)
            new = np.zeros(capacity, old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
        touched = np.zeros(capacity // grid.BLOCK, np.bool_)
        touched[: len(self.touched)] = self.touched
        self.touched = touched

    def advance(self, columns: Columns, n_feeds: int, unused: np.ndarray = _NOT_ASKED) -> Iterator[np.ndarray]:
        """Apply all rows of the columns; yield the events in chunks (`grid.EVENT`[k], overwritten by the next one).

        Symbols numbered in the columns lie below `size`, feeds below `n_feeds`. unused: bool[rows], set where a quote
        could not be used.
        """
        start = 0
        while start < len(columns):
            start, n = grid.advance(
                *columns.arrays,
                start,
                len(columns),
                self.rows,
                self.size,
                self.interest,
                self.touched,
                self._clock,
                self.feed_ts,
                self.feed_open,
                n_feeds,
                self.counts,
                self._events,
                self._parameters,
                *self.calendar.arrays,
                self._weights,
                unused,
            )
            if n > 0:
                yield self._events[:n]
            elif n < 0:
                self._events = np.zeros(2 * -n, grid.EVENT)

    def _fill_parameters(self) -> None:
        def ns(seconds: float | None) -> int:
            return grid.NEVER if seconds is None else min(round(seconds * NS), grid.NEVER)

        s, p = self.settings, self._parameters
        p["tau_ns"] = max(1, ns(s.tau_seconds))
        p["band_sd"] = s.band_sd
        p["decision_ns"] = s.decision_seconds * NS
        p["mark_ns"] = s.mark_seconds * NS
        p["warmup_ns"] = ns(s.warmup_seconds)
        p["gap_ns"] = ns(s.gap_taus * s.tau_seconds if s.gap_taus is not None else None)
        p["max_age_ns"] = ns(s.max_quote_age_seconds)
        p["marks"] = _MARKS[s.marks]
