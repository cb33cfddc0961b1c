"""Made-up quotes in real sessions of New York: two days, the second one ending early, with all that quotes do."""

from __future__ import annotations

import numpy as np

from agents.backtest.controls import ControlLine
from schemas.records import Control, StarControl, State
from schemas.times import NS

THANKSGIVING_EVE = 1_385_562_600 * NS
"""2013-11-27 09:30 in New York; the session ends at 16:00."""
BLACK_FRIDAY = 1_385_735_400 * NS
"""2013-11-29 09:30 in New York; the session ends at 13:00."""
HOURS = {THANKSGIVING_EVE: 6.5, BLACK_FRIDAY: 3.5}
SYMBOLS = ("AAA", "BBB", "CCC")


def quotes(seed: int = 7, seconds_between: float = 4.0) -> list[dict[str, float]]:
    """Rows of three symbols sorted by ts: ties, unusable and crossed quotes, pauses; CCC falls silent before closes."""
    random = np.random.default_rng(seed)
    rows = []
    for opening, hours in HOURS.items():
        for place, symbol in enumerate(SYMBOLS):
            begin, end = opening - 600 * NS, opening + round((hours + 0.25) * 3600) * NS
            if symbol == "CCC":
                end = opening + round((hours - 0.4) * 3600) * NS
            rows += _of_symbol(random, symbol, 20.0 * (place + 1), begin, end, seconds_between)
    return sorted(rows, key=lambda row: row["ts"])


def _of_symbol(random, symbol, price, begin, end, seconds_between):
    count = round((end - begin) / NS / seconds_between)
    gaps = random.exponential(seconds_between, count)
    gaps[random.random(count) < 0.15] = 0.0
    gaps[random.random(count) < 0.001] = 400.0
    ts = begin + np.cumsum(np.round(gaps * 1000)).astype(np.int64) * 1_000_000
    mid = price * np.exp(np.cumsum(random.normal(0, 2e-4, count)))
    bid = np.round(mid - 0.01, 2)
    ask = np.round(bid + random.choice([0.01, 0.02, 0.05, -0.01], count, p=[0.6, 0.3, 0.09, 0.01]), 2)
    bid_size, ask_size = (random.integers(1, 30, count) * 10.0 for _ in range(2))
    bid[random.random(count) < 0.002] = 0.0
    ask_size[random.random(count) < 0.002] = 0.0
    columns = zip(ts.tolist(), bid.tolist(), bid_size.tolist(), ask.tolist(), ask_size.tolist(), strict=True)
    return [
        {"symbol": symbol, "ts": t, "bid": b, "bid_size": bs, "ask": a, "ask_size": sz}
        for t, b, bs, a, sz in columns
        if t <= end
    ]


def controls() -> list[ControlLine]:
    """Controls that change during both days; versions are offsets."""

    def at(opening: int, minutes: float) -> int:
        return opening + round(minutes * 60) * NS

    records = [
        ("AAA", Control(max_position_dollars=8_000)),
        ("BBB", Control(max_position_dollars=5_000, lot_shares=35.5, size_step=0.5, max_loss_dollars=3)),
        ("CCC", Control(max_position_dollars=9_000, effective_from=at(THANKSGIVING_EVE, 20))),
        ("AAA", Control(max_position_dollars=2_000, allow_short=False, effective_from=at(THANKSGIVING_EVE, 90))),
        ("BBB", Control(max_position_dollars=5_000, state=State.CLOSING, effective_from=at(THANKSGIVING_EVE, 200))),
        ("CCC", Control(max_position_dollars=9_000, state=State.CLOSING, effective_from=at(THANKSGIVING_EVE, 150))),
        ("CCC", Control(max_position_dollars=9_000, effective_from=at(THANKSGIVING_EVE, 170))),
        ("*", StarControl(state=State.ACTIVE)),
        ("*", StarControl(state=State.REDUCING, effective_from=at(THANKSGIVING_EVE, 300))),
        ("*", StarControl(state=State.ACTIVE, effective_from=at(BLACK_FRIDAY, 30))),
        ("BBB", Control(max_position_dollars=7_000, max_loss_dollars=2, effective_from=at(BLACK_FRIDAY, 60))),
        ("CCC", Control(max_position_dollars=9_000, state=State.HALTED, effective_from=at(BLACK_FRIDAY, 100))),
        ("CCC", Control(max_position_dollars=9_000, effective_from=at(BLACK_FRIDAY, 120))),
    ]
    return [ControlLine(key=key, version=version, control=control) for version, (key, control) in enumerate(records)]
