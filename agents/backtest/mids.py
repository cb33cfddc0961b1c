"""Where prices stood after trades: mids on a grid of a second, looked up so long after each fill."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.strategy import grid
from schemas.times import NS

_MARK = np.dtype([("number", "i4"), ("ts", "i8"), ("mid", "f8")])


class Mids:
    """The mids of one date at the marks of a desk whose grid is a second."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []

    def take(self, events: np.ndarray) -> np.ndarray:
        """Keep the marks among events (`EVENT`[n]); a copy of the others."""
        marks = events["kind"] == grid.MARK
        if marks.any():
            mark = np.empty(np.count_nonzero(marks), _MARK)
            for name in _MARK.names or ():
                mark[name] = events[name][marks]
            self._parts.append(mark)
        return events[~marks]

    def after(self, fills: np.ndarray, seconds: Sequence[int]) -> np.ndarray:
        """The mid of each fill's symbol so many seconds after its ts, float64[fills, seconds].

        fills: `EVENT`[n], with the quotes in force at the ts, which is a whole second.
        """
        marks = np.concatenate(self._parts) if self._parts else np.zeros(0, _MARK)
        marks = marks[np.argsort(marks["number"], kind="stable")]
        met = (fills["bid"] + fills["ask"]) * 0.5
        found = np.empty((len(fills), len(seconds)))
        for number in np.unique(fills["number"]):
            of_symbol = marks[np.searchsorted(marks["number"], number) : np.searchsorted(marks["number"], number + 1)]
            # The last one stands for none.
            ts, mid = np.append(of_symbol["ts"], -1), np.append(of_symbol["mid"], np.nan)
            places = np.flatnonzero(fills["number"] == number)
            since = fills["ts"][places]
            for column, later in enumerate(seconds):
                # A mark at M shows what was in force before M; without one since the fill nothing has changed.
                at = np.searchsorted(of_symbol["ts"], since + later * NS, side="right") - 1
                found[places, column] = np.where(ts[at] > since, mid[at], met[places])
        return found
