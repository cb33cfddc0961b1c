"""A control in force as the execution rule takes it: the one reading of it, live and in a backtest."""

from __future__ import annotations

import math

import numpy as np

from agents.strategy import codes
from agents.strategy.execution import NO_STATE
from agents.strategy.ledger import units_of
from schemas.records import ControlInForce


def fill_control(intent: np.void, control: ControlInForce | None) -> None:
    """Write a control into one row of `agents.strategy.execution.INTENT`; None: no control yet."""
    if control is None:
        intent["state"] = NO_STATE
        return
    intent["state"] = codes.STATE_CODES[control.state]
    intent["version"] = control.version
    intent["max_position"] = control.max_position_dollars
    intent["max_loss"] = math.inf if control.max_loss_dollars is None else control.max_loss_dollars
    intent["size_step"] = control.size_step
    intent["step"] = units_of(control.size_step)
    intent["lot"] = units_of(control.lot_shares)
    intent["min_fill"] = units_of(control.min_fill_shares)
    intent["allow_short"] = control.allow_short
