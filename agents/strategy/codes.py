"""The kernels' small integers and the words of the records, each way."""

from __future__ import annotations

from schemas.records import (
    Outcome,
    OutcomeReason,
    SessionState,
    Side,
    SignalReason,
    State,
    TradeReason,
    Verdict,
)

VERDICTS = (Verdict.HOLD, Verdict.BUY, Verdict.SELL)
SIDES = (None, Side.BUY, Side.SELL)
SIGNAL_REASONS = (None, SignalReason.WARMUP, SignalReason.STALE, SignalReason.REMOVED, SignalReason.END)
SESSIONS = (None, SessionState.OPEN, SessionState.CLOSING, SessionState.CLOSED)
STATES = (State.ACTIVE, State.REDUCING, State.CLOSING, State.HALTED, None)
OUTCOMES = (Outcome.NONE, Outcome.FILLED, Outcome.CLIPPED, Outcome.REFUSED)
OUTCOME_REASONS = (None, *OutcomeReason)
TRADE_REASONS = (TradeReason.SIGNAL, TradeReason.CLOSING, TradeReason.SESSION_CLOSE)

VERDICT_CODES = {word: code for code, word in enumerate(VERDICTS)}
SIGNAL_REASON_CODES = {word: code for code, word in enumerate(SIGNAL_REASONS)}
SESSION_CODES = {word: code for code, word in enumerate(SESSIONS)}
STATE_CODES = {word: code for code, word in enumerate(STATES)}
