"""Signals and controls as the execution rule takes them: the one reading of them, live and in a backtest."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from agents.strategy import codes
from agents.strategy.execution import NO_STATE
from agents.strategy.ledger import units_of
from schemas.records import ControlInForce, Signal


class Terms(NamedTuple):
    """What a control in force contributes to a row of `agents.strategy.execution.INTENT`, field by field."""

    max_position: float
    max_loss: float
    size_step: float
    lot: int
    step: int
    min_fill: int
    version: int
    state: int
    allow_short: bool


_NO_CONTROL = Terms(0.0, 0.0, 0.0, 0, 0, 0, 0, NO_STATE, False)


def terms_of(control: ControlInForce | None) -> Terms:
    """The terms of a control; None: no control yet."""
    if control is None:
        return _NO_CONTROL
    return Terms(
        max_position=control.max_position_dollars,
        max_loss=math.inf if control.max_loss_dollars is None else control.max_loss_dollars,
        size_step=control.size_step,
        lot=units_of(control.lot_shares),
        step=units_of(control.size_step),
        min_fill=units_of(control.min_fill_shares),
        version=control.version,
        state=codes.STATE_CODES[control.state],
        allow_short=control.allow_short,
    )


def intent_of(signal: Signal, number: int) -> tuple[Any, ...]:
    """A signal as a row of `agents.strategy.execution.INTENT`; number is that of its ledger."""
    terms = terms_of(signal.control)
    return (
        terms.max_position,
        terms.max_loss,
        signal.bid,
        signal.bid_size,
        signal.ask,
        signal.ask_size,
        signal.mid,
        terms.size_step,
        terms.lot,
        terms.step,
        terms.min_fill,
        terms.version,
        number,
        codes.VERDICT_CODES[signal.verdict],
        codes.SIGNAL_REASON_CODES[signal.reason],
        codes.SESSION_CODES[signal.session],
        terms.state,
        signal.buy,
        signal.sell,
        terms.allow_short,
    )
