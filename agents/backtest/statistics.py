"""Figures of a result: Sharpe ratio, drawdown, markouts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

TRADING_DAYS = 252
LEAST_DAYS = 20
"""With fewer days a Sharpe ratio is noise, and none is given."""


def sharpe(daily: Sequence[float]) -> float | None:
    """Mean over standard deviation of daily results times √252; None below 20 days or without variation.

    >>> sharpe([1.0, -1.0] * 9) is None
    True
    """
    if len(daily) < LEAST_DAYS:
        return None
    deviation = float(np.std(daily, ddof=1))
    return float(np.mean(daily)) / deviation * math.sqrt(TRADING_DAYS) if deviation > 0 else None


@dataclass
class Drawdown:
    """The largest fall of an equity curve from a peak, in dollars, taken piece by piece. Equity begins at 0."""

    peak: float = 0.0
    largest: float = 0.0

    def take(self, equity: np.ndarray) -> np.ndarray:
        """Go on with float64[n]; the fall from the peak at each point (≤ 0)."""
        peaks = np.maximum.accumulate(np.concatenate([[self.peak], equity]))[1:]
        falls: np.ndarray = equity - peaks
        if len(equity):
            self.peak = float(peaks[-1])
            self.largest = min(self.largest, float(falls.min()))
        return falls


@dataclass
class Markouts:
    """How the mid moved after trades, in basis points of the price, in the trade's favour where positive.

    Sums per horizon, taken piece by piece.
    """

    horizons: int
    count: np.ndarray = field(init=False)
    total: np.ndarray = field(init=False)
    squares: np.ndarray = field(init=False)
    dollars: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        for name in ("count", "total", "squares", "dollars"):
            setattr(self, name, np.zeros(self.horizons))

    def take(self, sign: np.ndarray, shares: np.ndarray, price: np.ndarray, later: np.ndarray) -> None:
        """sign: ±1; price: of the fill; later: float64[n, horizons], the mid then, NaN where not known."""
        gain = sign[:, None] * (later - price[:, None])
        bps = gain / price[:, None] * 1e4
        known = ~np.isnan(bps)
        self.count += known.sum(axis=0)
        self.total += np.nansum(bps, axis=0)
        self.squares += np.nansum(bps * bps, axis=0)
        self.dollars += np.nansum(gain * shares[:, None], axis=0)

    def rows(self) -> list[dict[str, float | None]]:
        """Mean, standard error and count, horizon by horizon."""
        rows: list[dict[str, float | None]] = []
        columns = (column.tolist() for column in (self.count, self.total, self.squares, self.dollars))
        for n, total, squares, dollars in zip(*columns, strict=True):
            mean = total / n if n else None
            error = math.sqrt(max(0.0, squares / n - (total / n) ** 2) / (n - 1)) if n > 1 else None
            rows.append({"bps": mean, "error": error, "count": int(n), "dollars": dollars})
        return rows
