"""The compiled execution rule against the reference, on sequences of signals of any size, absurd ones included."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agents.strategy import codes, execution
from agents.strategy.intents import intent_of
from agents.strategy.ledger import LEDGER, NOT_LATCHED, units_of
from agents.strategy.settings import LimitRule, Settings
from schemas.records import UNITS_PER_SHARE, Signal
from tests.pipeline.scripts import examples
from tests.strategy.reference_desk import Desk
from tests.strategy.reference_settings import ReferenceSettings, shares_of

prices = st.one_of(st.sampled_from((100.0, 99.5, 0.01, 8e-6, 1e-12, 1e12)), st.floats(1e-12, 1e12))
steps = st.sampled_from((1.0, 0.01, 1e-5, 1e-8, 3.0, 1e9))


@st.composite
def controls(draw: st.DrawFn, version: int) -> dict[str, Any]:
    """A control in force."""
    step = draw(steps)
    return {
        "version": version,
        "star_version": None,
        "max_position_dollars": draw(st.one_of(st.sampled_from((0.0, 1e4, 9.9e9)), st.floats(0, 9.9e9))),
        "lot_shares": draw(st.one_of(st.sampled_from((step, 9.9e9)), st.floats(step, 9.9e9))),
        "size_step": step,
        "min_fill_shares": draw(st.one_of(st.sampled_from((0.0, 10 * step)), st.floats(0, 1e5))),
        "max_loss_dollars": draw(st.sampled_from((None, None, 1e-3, 1e6))),
        "allow_short": draw(st.sampled_from((True, True, False))),
        "state": draw(st.sampled_from(("ACTIVE", "ACTIVE", "ACTIVE", "REDUCING", "CLOSING", "HALTED"))),
    }


@st.composite
def signals(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Signals of one symbol, one after the other."""
    version, control = 0, draw(controls(0))
    rows = []
    for ts in range(draw(st.integers(1, 25))):
        if draw(st.integers(0, 5)) == 0:
            version += 1
            control = draw(controls(version))
        bid, ask = draw(prices), draw(prices)
        verdict = draw(st.sampled_from(("BUY", "SELL", "BUY", "SELL", "HOLD")))
        reason = draw(st.sampled_from((None, "STALE", "WARMUP", "END", "REMOVED"))) if verdict == "HOLD" else None
        rows.append(
            {
                "symbol": "AAPL",
                "ts": ts,
                "quote_ts": ts,
                "bid": bid,
                "bid_size": draw(st.sampled_from((1e-9, 0.5, 300.0, 1e300))),
                "ask": ask,
                "ask_size": draw(st.sampled_from((1e-9, 0.5, 300.0, 1e300))),
                "mid": (bid + ask) * 0.5,
                "buy": verdict == "BUY",
                "sell": verdict == "SELL" or draw(st.booleans()),
                "verdict": verdict,
                "reason": reason,
                "session": draw(st.sampled_from((None, None, None, "OPEN", "CLOSING", "CLOSED"))),
                "control": draw(st.sampled_from((control, control, control, None))) if ts == 0 else control,
            }
        )
    return rows


def by_the_kernel(rows: list[dict[str, Any]], settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Results and the ledger."""
    rest = {"time": "", "ema": 1.0, "sd": None, "buy_below": None, "sell_above": None, "settings": ""}
    intents = np.array([intent_of(msgspec.convert({**row, **rest}, Signal), 0) for row in rows], execution.INTENT)
    ledgers = np.zeros(1, LEDGER)
    ledgers["latched_version"] = NOT_LATCHED
    results, left = execution.execute(intents, ledgers, settings)
    assert not len(rows) or left[-1] == ledgers[0]
    return results, ledgers


def outcome_of(result: np.void) -> dict[str, Any]:
    """A result in the words of an execution."""
    units = int(result["units"])
    return {
        "outcome": codes.OUTCOMES[result["outcome"]],
        "reason": codes.OUTCOME_REASONS[result["reason"]],
        "side": codes.SIDES[result["side"]] if result["outcome"] != execution.NONE else None,
        "shares": shares_of(abs(units)),
        "price": None if math.isnan(result["price"]) else float(result["price"]),
        "fee": float(result["fee"]),
        "position_before": shares_of(int(result["before"])),
        "position_after": shares_of(int(result["after"])),
    }


@examples(250)
@given(
    rows=signals(),
    rule=st.sampled_from((LimitRule.CLIP, LimitRule.CLIP, LimitRule.OVERSHOOT)),
    cap=st.booleans(),
    fees=st.sampled_from(((0.0, 0.0), (0.0035, 0.7))),
)
def test_signals_of_any_size_are_executed_as_by_the_reference(
    rows: list[dict[str, Any]], rule: LimitRule, cap: bool, fees: tuple[float, float]
) -> None:
    limits = {"limit_rule": rule, "cap_by_size": cap, "fee_per_share": fees[0], "fee_bps": fees[1]}
    desk = Desk(ReferenceSettings(**limits))
    for row in rows:
        desk.execute(row)
    results, ledgers = by_the_kernel(rows, Settings(**limits))
    for result, wanted in zip(results, desk.executions, strict=True):
        ours = outcome_of(result)
        assert ours == {name: None if wanted[name] != wanted[name] else wanted[name] for name in ours}
    ledger, expected = ledgers[0], desk.accounts["AAPL"].ledger
    for name in ("position", "average_cost", "cash", "realised", "fees", "trades"):
        assert ledger[name] == getattr(expected, name), name
    assert abs(int(ledger["position"])) <= execution.LARGEST_POSITION


@examples(100)
@given(st.integers(-(1 << 51), 1 << 51), st.integers(-23 * 10**9, 23 * 10**9))
def test_a_published_position_gives_back_its_units(units: int, whole_shares: int) -> None:
    assert units_of(units / UNITS_PER_SHARE) == units
    assert units_of(float(whole_shares)) == whole_shares * UNITS_PER_SHARE
