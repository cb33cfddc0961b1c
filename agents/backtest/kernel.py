"""Decisions to intents, and executions to profit and loss: what lies between the strategy's kernels, compiled."""

from __future__ import annotations

import numba as nb
import numpy as np

from agents.strategy.execution import CLIPPED, CLOSING, FILLED, NO_STATE, ON_SIGNAL, REFUSED
from agents.strategy.grid import BUY, END, HOLD, MARK, REMOVED, SELL, STILL_STALE
from agents.strategy.ledger import apply_fill, net, shares_of, unrealised
from agents.strategy.session import SESSION_CLOSING

PNL_ROW = np.dtype(
    [
        ("net", "f8"),
        ("unrealised", "f8"),
        ("realised", "f8"),
        ("fees", "f8"),
        ("average_cost", "f8"),
        ("shares", "f8"),
    ]
)
"""Profit and loss of a symbol after one signal."""

DAY = np.dtype(
    [
        ("signals", "i8"),
        ("warm", "i8"),
        ("stale", "i8"),
        ("buys_wanted", "i8"),
        ("sells_wanted", "i8"),
        ("filled", "i8"),  # of a verdict; closings by a control or the session are none
        ("clipped", "i8"),
        ("refused", "i8"),
        ("cancelled", "i8"),  # verdicts whose edge was gone when the order arrived
        ("buys", "i8"),
        ("sells", "i8"),
        ("closing_trades", "i8"),  # against a position
        ("winning_trades", "i8"),
        ("in_market", "i8"),  # signals after which a position was held
        ("turnover", "f8"),  # dollars
        ("shares_traded", "f8"),
        ("max_exposure", "f8"),  # dollars, largest |position| at the mid
        ("exposure_sum", "f8"),  # over the signals, |position| at the mid
        ("sd_bps_sum", "f8"),  # over the warm signals
        ("spread_bps_sum", "f8"),  # over the warm signals
        ("edge_bps_sum", "f8"),  # over the verdicts: how far the price lay beyond the threshold
    ]
)
"""What happened to one symbol on one date."""


@nb.njit(cache=True, nogil=True)
def intents_of(
    events: np.ndarray,
    first: np.ndarray,
    start: np.ndarray,
    template: np.ndarray,
    listed: np.ndarray,
    intents: np.ndarray,
    kept: np.ndarray,
) -> int:
    """Join decisions with the controls in force; return how many signals there are.

    events: `EVENT`[n]; first, start, template: of `controls.Timeline`; listed: bool per symbol, whether it was in the
    universe at its last decision time, brought up to date. Fills intents (`INTENT`) and kept (int64, places in events).
    """
    n = 0
    for i in range(len(events)):
        event = events[i]
        if event.kind == MARK:
            continue
        s = event.number
        k = first[s]
        while k + 1 < first[s + 1] and start[k + 1] <= event.ts:
            k += 1
        holds = template[k].state != NO_STATE
        removed = False
        if event.kind != END:
            removed = listed[s] and not holds
            listed[s] = holds
        if removed:
            k -= 1
        elif not holds or (
            event.kind != END
            and event.age == STILL_STALE
            and template[k].state != CLOSING
            and event.session != SESSION_CLOSING
        ):
            continue
        intents[n] = template[k]
        intent = intents[n]
        intent.number = s
        intent.verdict = HOLD if removed else event.verdict
        intent.reason = REMOVED if removed else event.reason
        intent.session = event.session
        intent.buy = event.buy
        intent.sell = event.sell
        intent.bid = event.bid
        intent.bid_size = event.bid_size
        intent.ask = event.ask
        intent.ask_size = event.ask_size
        intent.mid = event.mid
        kept[n] = i
        n += 1
    return n


LAST = np.dtype(
    [
        ("ts", "i8"),  # of the signal, 0 before the first
        ("quote_ts", "i8"),
        ("mid", "f8"),
        ("version", "i8"),
        ("state", "u1"),
    ]
)
"""A symbol's latest signal."""


@nb.njit(cache=True, nogil=True)
def book(
    events: np.ndarray,
    intents: np.ndarray,
    results: np.ndarray,
    cancelled: np.ndarray,
    kept: np.ndarray,
    ledgers: np.ndarray,
    rows: np.ndarray,
    days: np.ndarray,
    last: np.ndarray,
    equity: np.ndarray,
    equity_start: int,
    equity_step: int,
) -> None:
    """Book executions as the portfolio agent does.

    events: the decisions (`EVENT`[n]) with the quotes that they were based on, whatever their orders met; cancelled:
    bool[n], whose orders were; kept: which of them became signals; intents, results: of the signals. Fills rows
    (`PNL_ROW`, one a signal), adds to days (`DAY` per symbol), keeps last (`LAST` per symbol), and writes each symbol's
    net into equity (float64[symbols, steps]) at the step of its signal.
    """
    for i in range(len(kept)):
        event, intent, result, row = events[kept[i]], intents[i], results[i], rows[i]
        s = event.number
        last[s].ts = event.ts
        last[s].quote_ts = event.quote_ts
        last[s].mid = event.mid
        last[s].version = intent.version
        last[s].state = result.state
        ledger, day = ledgers[s], days[s]
        if result.units != 0:
            realised = apply_fill(ledger, result.units, result.price, result.fee)
            shares = shares_of(abs(result.units))
            day.turnover += shares * result.price
            day.shares_traded += shares
            if result.units > 0:
                day.buys += 1
            else:
                day.sells += 1
            if result.before != 0 and (result.before > 0) != (result.units > 0):
                day.closing_trades += 1
                day.winning_trades += realised > 0.0
        held = shares_of(ledger.position)
        row.net = net(ledger, event.mid)
        row.unrealised = unrealised(ledger, event.mid)
        row.realised = ledger.realised
        row.fees = ledger.fees
        row.average_cost = ledger.average_cost
        row.shares = held
        step = (event.ts - equity_start) // equity_step
        equity[s, min(max(step, 0), equity.shape[1] - 1)] = row.net
        exposure = abs(held) * event.mid
        day.signals += 1
        day.in_market += held != 0.0
        day.max_exposure = max(day.max_exposure, exposure)
        day.exposure_sum += exposure
        day.filled += result.outcome == FILLED and result.trade_reason == ON_SIGNAL
        day.clipped += result.outcome == CLIPPED
        day.refused += result.outcome == REFUSED
        day.stale += event.age != 0
        if event.warm and event.age == 0:
            day.warm += 1
            day.sd_bps_sum += event.sd / event.mid * 1e4
            day.spread_bps_sum += (event.ask - event.bid) / event.mid * 1e4
        verdict = HOLD if intent.reason == REMOVED else event.verdict
        day.cancelled += verdict != HOLD and cancelled[kept[i]]
        if verdict == BUY:
            day.buys_wanted += 1
            day.edge_bps_sum += (event.buy_below - event.ask) / event.mid * 1e4
        elif verdict == SELL:
            day.sells_wanted += 1
            day.edge_bps_sum += (event.bid - event.sell_above) / event.mid * 1e4
