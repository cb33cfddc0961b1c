"""Position, average cost, cash and realised result of one symbol.

Average-cost accounting: for a position q of average cost a, a fill of signed s at price p that opens or adds makes
a = (|q|·a + |s|·p) / (|q| + |s|); one against the position realises c·(p − a)·sign(q) on c = min(|s|, |q|) shares,
and what is left of it opens a new position at p. Always R + q·(mark − a) = Σ s·(mark − p).
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from schemas.records import UNITS_PER_SHARE

NOT_LATCHED = -1

LEDGER = np.dtype(
    [
        ("position", "i8"),  # units of 1e-8 shares
        ("average_cost", "f8"),
        ("cash", "f8"),
        ("realised", "f8"),
        ("fees", "f8"),
        ("trades", "i8"),
        ("latched_version", "i8"),  # of the control whose loss limit was hit, or NOT_LATCHED
    ]
)
"""State of one symbol."""


@nb.njit(cache=True, nogil=True)
def shares_of(units: int) -> float:
    """Shares of a quantity in units."""
    return units / UNITS_PER_SHARE


def units_of(shares: float) -> int:
    """A quantity in units, from shares; rounds to the nearest unit."""
    return round(shares * UNITS_PER_SHARE)


@nb.njit(cache=True, nogil=True)
def apply_fill(ledger: Any, signed_units: int, price: float, fee: float) -> float:
    """Book one fill (units > 0 bought, < 0 sold) into a `LEDGER` row; return what it realised, in dollars."""
    q, s = shares_of(ledger.position), shares_of(signed_units)
    a = ledger.average_cost
    realised = 0.0
    if q == 0.0 or (q > 0.0) == (s > 0.0):
        ledger.average_cost = (abs(q) * a + abs(s) * price) / (abs(q) + abs(s))
    else:
        closed = min(abs(s), abs(q))
        realised = closed * (price - a) if q > 0.0 else closed * (a - price)
        if abs(signed_units) > abs(ledger.position):
            ledger.average_cost = price
        elif abs(signed_units) == abs(ledger.position):
            ledger.average_cost = 0.0
    ledger.position += signed_units
    ledger.realised += realised
    ledger.cash -= s * price + fee
    ledger.fees += fee
    ledger.trades += 1
    return realised


@nb.njit(cache=True, nogil=True)
def unrealised(ledger: Any, mark: float) -> float:
    """Result of closing the position at a mark, in dollars."""
    q = shares_of(ledger.position)
    return q * (mark - ledger.average_cost) if q != 0.0 else 0.0


@nb.njit(cache=True, nogil=True)
def net(ledger: Any, mark: float) -> float:
    """Realised and unrealised result less fees, in dollars."""
    return ledger.realised + unrealised(ledger, mark) - ledger.fees
