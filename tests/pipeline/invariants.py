"""What must hold for a desk's table between any two batches."""

from __future__ import annotations

import numpy as np

from agents.strategy.desk import Desk
from agents.strategy.grid import ROW
from schemas.times import NS


def check_invariants(desk: Desk) -> None:
    """Assert what every sequence of quotes and clocks leaves true of a desk."""
    rows = desk.rows[: desk.size]
    _check_unused(desk.rows[desk.size :])
    _check_unused(rows[rows["rows"] == 0])
    used = rows[rows["rows"] > 0]
    _check_quotes(used)
    _check_moments(used)
    _check_grids(desk, used)
    assert desk.counts.min() >= 0
    assert desk.counts.sum() >= used["rows"].sum()


def _check_unused(rows: np.ndarray) -> None:
    assert not rows.view(np.uint8).any() if len(rows) else True, "a symbol without a usable quote has state"


def _check_quotes(rows: np.ndarray) -> None:
    for name in ("bid", "bid_size", "ask", "ask_size"):
        assert np.isfinite(rows[name]).all() and (rows[name] > 0).all(), name
    assert (rows["warm_start"] <= rows["ts"]).all()


def _check_moments(rows: np.ndarray) -> None:
    assert (rows["var"] >= 0).all(), "a variance is negative"
    assert (rows["ema"] > 0).all(), "an average of positive prices is not positive"
    assert (rows["var"][rows["rows"] == 1] == 0).all()


def _check_grids(desk: Desk, rows: np.ndarray) -> None:
    decision, mark = desk.settings.decision_seconds * NS, desk.settings.mark_seconds * NS
    assert (rows["next_decision"] % decision == 0).all()
    assert (rows["next_decision"] > np.maximum(rows["ts"], desk.clock)).all(), "a decision time was passed over"
    due = rows[rows["next_mark"] != 0]
    assert (due["next_mark"] % mark == 0).all()
    assert (due["next_mark"] > np.maximum(due["ts"], desk.clock)).all(), "a mark was passed over"
    assert (due["next_mark"] <= (due["ts"] // mark + 1) * mark).all()
    assert rows.dtype == ROW
