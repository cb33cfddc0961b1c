"""What a peer in Python does with one quote: quotes to signals, its state a list that any store can keep."""

from __future__ import annotations

import math
from typing import Any

TAU_NS = 60e9
DECISION_NS = 10_000_000_000
WARMUP_NS = 60_000_000_000
PRICES = ("bid", "bid_size", "ask", "ask_size")

_FIRST, _TS, _NEXT, _MEAN, _VARIANCE, _BID, _ASK, _SINGLE = range(8)


def is_quote(value: dict[str, Any]) -> bool:
    """Whether a record is a quote, not a clock."""
    return "symbol" in value


def step(state: list[Any] | None, quote: dict[str, Any]) -> tuple[list[Any] | None, list[dict[str, Any]]]:
    """The state after a quote, and the signals of the decision times that it is the first to reach."""
    if not all(0 < quote[name] < math.inf for name in PRICES):
        return state, []
    ts, bid, ask = quote["ts"], quote["bid"], quote["ask"]
    x = (bid + ask) / 2
    if state is None:
        return [ts, ts, (ts // DECISION_NS + 1) * DECISION_NS, x, 0.0, bid, ask, True], []
    if ts < state[_TS]:
        return state, []
    signals = []
    while ts >= state[_NEXT]:
        signals.append(_signal(quote["symbol"], state))
        state[_NEXT] += DECISION_NS
    passed = ts - state[_TS]
    if passed > 0:
        weight, away = math.exp(-passed / TAU_NS), x - state[_MEAN]
        state[_VARIANCE] = weight * (state[_VARIANCE] + (1 - weight) * away * away)
        state[_MEAN] += (1 - weight) * away
    state[_TS], state[_BID], state[_ASK], state[_SINGLE] = ts, bid, ask, False
    return state, signals


def _signal(symbol: str, state: list[Any]) -> dict[str, Any]:
    first, ts, decision, mean, variance, bid, ask, single = state
    sd = math.nan if single else math.sqrt(variance)
    warm = ts > first + WARMUP_NS
    verdict = "BUY" if warm and ask < mean - sd else "SELL" if warm and bid > mean + sd else "HOLD"
    return {
        "symbol": symbol,
        "ts": decision,
        "quote_ts": ts,
        "bid": bid,
        "ask": ask,
        "ema": mean,
        "sd": None if single else sd,
        "verdict": verdict,
    }
