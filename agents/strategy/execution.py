"""What comes of a signal: filled, clipped or refused. One compiled rule for the live agent and the backtest."""

from __future__ import annotations

import numba as nb
import numpy as np

from agents.strategy.grid import AT_END, BUY, HOLD, REMOVED, SELL
from agents.strategy.ledger import LEDGER, apply_fill, net, shares_of
from agents.strategy.session import SESSION_CLOSED, SESSION_CLOSING
from agents.strategy.settings import LimitRule, Settings

ACTIVE, REDUCING, CLOSING, HALTED, NO_STATE = 0, 1, 2, 3, 4
"""States in force; `NO_STATE`: no control yet."""
LARGEST_POSITION = 4 * 10**18
"""In units, so that sums of two positions fit into 64 bits."""
NONE, FILLED, CLIPPED, REFUSED = 0, 1, 2, 3
"""Outcomes."""
(
    BY_LIMIT,
    BY_DUST,
    BY_NO_CONTROL,
    BY_HALTED,
    BY_REDUCING,
    BY_SHORT,
    BY_NO_SIZE,
    BY_SESSION,
    BY_LOSS,
) = range(5, 14)
"""Reasons of an outcome; smaller numbers are the signal's own (`agents.strategy.grid`)."""
ON_SIGNAL, ON_CLOSING, ON_SESSION_CLOSE = 0, 1, 2
"""Reasons of a trade."""

INTENT = np.dtype(
    [
        ("max_position", "f8"),  # dollars
        ("max_loss", "f8"),  # dollars, infinite for none
        ("bid", "f8"),
        ("bid_size", "f8"),
        ("ask", "f8"),
        ("ask_size", "f8"),
        ("mid", "f8"),
        ("size_step", "f8"),  # shares
        ("lot", "i8"),  # units
        ("step", "i8"),  # units
        ("min_fill", "i8"),  # units
        ("version", "i8"),
        ("number", "i4"),  # of the symbol's ledger
        ("verdict", "u1"),
        ("reason", "u1"),
        ("session", "u1"),
        ("state", "u1"),
        ("buy", "?"),
        ("sell", "?"),
        ("allow_short", "?"),
    ]
)
"""A signal with its control, as the rule takes it."""

RESULT = np.dtype(
    [
        ("price", "f8"),
        ("fee", "f8"),  # dollars
        ("realised", "f8"),  # dollars, by this fill
        ("units", "i8"),  # signed: > 0 bought
        ("before", "i8"),  # position in units
        ("after", "i8"),
        ("outcome", "u1"),
        ("reason", "u1"),
        ("trade_reason", "u1"),
        ("side", "u1"),  # BUY, SELL, or HOLD where none was tried
        ("state", "u1"),  # in force, REDUCING where the loss limit has latched
    ]
)
"""What came of it."""


@nb.njit(cache=True, nogil=True)
def _refuse(result, reason):
    result.outcome = REFUSED
    result.reason = reason


@nb.njit(cache=True, nogil=True)
def _fill(ledger, result, sign, units, price, fee_per_share, fee_bps, outcome, trade_reason):
    shares = shares_of(units)
    result.fee = shares * fee_per_share + shares * price * fee_bps / 10_000.0
    result.price = price
    result.units = sign * units
    result.realised = apply_fill(ledger, sign * units, price, result.fee)
    result.outcome = outcome
    result.trade_reason = trade_reason


@nb.njit(cache=True, nogil=True)
def _clip(intent, ledger, result, sign, price, latched, cap_by_size, fee_per_share, fee_bps):
    """The default limit rule: as much of the lot as limit, state and displayed size leave."""
    q, step = ledger.position, intent.step
    lot = intent.lot // step * step
    wanted = lot
    if cap_by_size:
        shown = np.floor(min(intent.ask_size if sign > 0 else intent.bid_size, 1e10) * 1e8)
        wanted = min(lot, np.int64(shown) // step * step)
    # Bounded before the conversion: a limit over a tiny price must not overflow 64-bit units.
    limit = np.int64(np.floor(min(intent.max_position / price / intent.size_step, LARGEST_POSITION / step))) * step
    room = limit - sign * q
    n = max(0, min(wanted, room)) // step * step
    bound = BY_LIMIT if room < wanted else (BY_NO_SIZE if wanted < lot else 0)
    reduces = q != 0 and (q > 0) != (sign > 0)
    if not intent.allow_short and sign < 0 and n > max(q, 0):
        n = max(q, 0)
        bound = BY_SHORT
        if n == 0:
            _refuse(result, BY_SHORT)
            return
    if result.state == REDUCING:
        cause = BY_LOSS if latched and intent.state == ACTIVE else BY_REDUCING
        if not reduces:
            _refuse(result, cause)
            return
        if n > abs(q):
            n = abs(q)
            bound = cause
    if n == 0:
        _refuse(result, BY_NO_SIZE if wanted == 0 else BY_LIMIT)
        return
    if (not reduces or n > abs(q)) and n < intent.min_fill:
        _refuse(result, BY_LIMIT if bound == BY_LIMIT else BY_DUST)
        return
    outcome = FILLED if n == lot else CLIPPED
    result.reason = bound if outcome == CLIPPED else 0
    _fill(ledger, result, sign, n, price, fee_per_share, fee_bps, outcome, ON_SIGNAL)


@nb.njit(cache=True, nogil=True)
def _overshoot(intent, ledger, result, fee_per_share, fee_bps):
    """The original's limit rule: whole lots, tested before they are added; SELL is tried when BUY is blocked."""
    exposure = shares_of(ledger.position) * intent.mid
    if intent.buy and exposure < intent.max_position and ledger.position + intent.lot <= LARGEST_POSITION:
        result.side = BUY
        _fill(ledger, result, 1, intent.lot, intent.ask, fee_per_share, fee_bps, FILLED, ON_SIGNAL)
    elif intent.sell and exposure > -intent.max_position and ledger.position - intent.lot >= -LARGEST_POSITION:
        result.side = SELL
        _fill(ledger, result, -1, intent.lot, intent.bid, fee_per_share, fee_bps, FILLED, ON_SIGNAL)
    else:
        _refuse(result, BY_LIMIT)


@nb.njit(cache=True, nogil=True)
def _execute_one(intent, ledger, result, overshoot, cap_by_size, fee_per_share, fee_bps):
    result.before = ledger.position
    result.after = ledger.position
    result.price = np.nan
    result.fee = 0.0
    result.realised = 0.0
    result.units = 0
    result.outcome = NONE
    result.reason = intent.reason
    result.trade_reason = ON_SIGNAL
    result.side = intent.verdict
    result.state = intent.state
    if intent.reason == AT_END or intent.reason == REMOVED:
        if intent.state == ACTIVE and ledger.latched_version == intent.version:
            result.state = REDUCING
        return
    if intent.state == NO_STATE:
        if intent.verdict != HOLD:
            _refuse(result, BY_NO_CONTROL)
        return
    if ledger.latched_version < intent.version and net(ledger, intent.mid) < -intent.max_loss:
        ledger.latched_version = intent.version
    latched = ledger.latched_version == intent.version
    if latched and result.state == ACTIVE:
        result.state = REDUCING
    if result.state == HALTED:
        if intent.verdict != HOLD:
            _refuse(result, BY_HALTED)
        return
    if intent.session == SESSION_CLOSED:
        if intent.verdict != HOLD:
            _refuse(result, BY_SESSION)
        return
    if result.state == CLOSING or intent.session == SESSION_CLOSING:
        if ledger.position != 0:
            sign = -1 if ledger.position > 0 else 1
            price = intent.ask if sign > 0 else intent.bid
            why = ON_CLOSING if result.state == CLOSING else ON_SESSION_CLOSE
            result.side = BUY if sign > 0 else SELL
            result.reason = 0
            _fill(ledger, result, sign, abs(ledger.position), price, fee_per_share, fee_bps, FILLED, why)
        elif intent.verdict != HOLD:
            _refuse(result, BY_REDUCING if result.state == CLOSING else BY_SESSION)
        return
    if intent.verdict == HOLD:
        return
    if overshoot:
        _overshoot(intent, ledger, result, fee_per_share, fee_bps)
    elif intent.verdict == BUY:
        _clip(intent, ledger, result, 1, intent.ask, latched, cap_by_size, fee_per_share, fee_bps)
    else:
        _clip(intent, ledger, result, -1, intent.bid, latched, cap_by_size, fee_per_share, fee_bps)


@nb.njit(cache=True, nogil=True)
def _execute(intents, ledgers, results, left, overshoot, cap_by_size, fee_per_share, fee_bps):
    for i in range(len(intents)):
        intent, result = intents[i], results[i]
        ledger = ledgers[intent.number]
        _execute_one(intent, ledger, result, overshoot, cap_by_size, fee_per_share, fee_bps)
        result.after = ledger.position
        left[i] = ledger


def execute(intents: np.ndarray, ledgers: np.ndarray, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Execute signals (`INTENT`[n]) in their order; books the fills into the ledgers (`LEDGER`).

    Returns the results (`RESULT`[n]), and the ledger of each one's symbol as it left it (`LEDGER`[n]).
    """
    assert intents.dtype == INTENT and ledgers.dtype == LEDGER
    results, left = np.zeros(len(intents), RESULT), np.zeros(len(intents), LEDGER)
    overshoot = settings.limit_rule is LimitRule.OVERSHOOT
    fees = (settings.fee_per_share, settings.fee_bps)
    _execute(intents, ledgers, results, left, overshoot, settings.cap_by_size, *fees)
    return results, left
