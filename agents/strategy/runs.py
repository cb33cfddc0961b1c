"""Stretches of rows of one symbol: which of them plainly follow the row before, and what that row still weighs.

What can be said of many rows at once, without their symbol's state: vector instructions do it at a fraction of the
cost of going row by row. `grid` uses it only where it holds, so that no result depends on it.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from agents.strategy.moments import decay
from schemas.columns import QUOTE

LEAST_ROWS = 8
"""Shorter stretches are not worth it."""
MOST_ROWS = 1024
"""Rows that are prepared at a time."""


@nb.njit(cache=True, nogil=True, error_model="numpy")
def prepare(
    kind,
    number,
    ts,
    latest_ts,
    bid,
    bid_size,
    ask,
    ask_size,
    start,
    stop,
    tau_ns,
    gap_ns,
    largest_ts,
    largest_price,
    weights,
):
    """Fill weights (float64) of rows start..stop-1 (start > 0); return how many rows from start on plainly follow.

    A row plainly follows the one before if it is a usable quote of the same symbol, not before it and not behind a
    gap. The weight is exp(-dt/τ) of the time between the two.
    """
    follows = stop - start
    for i in range(stop - start):
        j = start + i
        dt = ts[j] - ts[j - 1]
        weights[i] = decay(-(float(max(dt, 0)) / tau_ns))
        plain = (
            (kind[j] == QUOTE)
            & (number[j] == number[j - 1])
            & (dt >= 0)
            & (dt <= gap_ns)
            & (ts[j] <= latest_ts[j])
            & (ts[j] <= largest_ts)
            & (bid[j] > 0.0)
            & (bid[j] <= largest_price)
            & (ask[j] > 0.0)
            & (ask[j] <= largest_price)
            & (bid_size[j] > 0.0)
            & (bid_size[j] < np.inf)
            & (ask_size[j] > 0.0)
            & (ask_size[j] < np.inf)
        )
        follows = min(follows, stop - start if plain else i)
    return follows
