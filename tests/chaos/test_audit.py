"""The auditor finds what is wrong: evidence of a small sound run, then one thing spoiled in it at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable

import orjson
import pytest

from agents.chaos.audit import audit
from agents.chaos.due import DECISION_NS, Controls, Partition, by_key
from agents.chaos.evidence import Evidence
from schemas.times import NS

START = 1_767_623_400 * NS
SECONDS = 200


def sound() -> Evidence:
    """One symbol for 200 seconds, with one late and one malformed record, and a purchase and a sale."""
    controls = Controls()
    controls.add(0, "AAPL", {"max_position_dollars": 50_000.0, "state": "ACTIVE", "effective_from": None})
    partition = Partition(controls)
    records: list[bytes] = []
    for second in range(SECONDS):
        ts = START + second * NS
        bid = 100.0 + second % 7 - second % 5
        records.append(orjson.dumps({"clock": ts, "feed": "t", "end": False}))
        records.append(quote(ts + 1, bid))
    records += [quote(START, 100.0), b'{"symbol":', orjson.dumps({"clock": START + SECONDS * NS, "end": True})]
    for offset, record in enumerate(records):
        partition.take(offset, START + 10**15, record)
    found = Evidence(partitions={0: partition}, ends={0: len(records)}, quotes_digest="same")
    fill(found)
    counters = {"used": SECONDS, "late": 1, "clock": SECONDS + 1, "dead_lettered": 1}
    found.checkpoints = {
        ("signals", 0): {"offset": len(records), "counters": counters},
        ("execution", 0): {"offset": 99, "counters": {"used": len(found.signals)}},
        ("portfolio", 0): {"offset": 98, "counters": {"used": len(found.signals)}},
    }
    found.group = {(role, 0): row["offset"] for (role, _), row in found.checkpoints.items()}
    found.dead = [("quotes", 0, len(records) - 2)]
    found.ticks, found.preds = copy.deepcopy(partition.marks), copy.deepcopy(partition.marks)
    return found


def quote(ts: int, bid: float) -> bytes:
    row = {"symbol": "AAPL", "ts": ts, "bid": bid, "bid_size": 100.0, "ask": bid + 0.02, "ask_size": 100.0}
    return orjson.dumps(row)


def fill(found: Evidence) -> None:
    """Signals that say what is due; the first that may buys 100 shares."""
    position, cash = 0.0, 0.0
    for (symbol, ts, end), due in by_key(list(found.partitions.values())).items():
        sd = None if due.sd != due.sd else due.sd
        below, above = (None, None) if sd is None else (due.ema - sd, due.ema + sd)
        buy, sell = below is not None and due.ask < below, above is not None and due.bid > above
        held = due.reason in ("WARMUP", "STALE")
        verdict = "HOLD" if held else "BUY" if buy else "SELL" if sell else "HOLD"
        control = {"version": due.version, "star_version": None, "state": due.state}
        control |= {"max_position_dollars": 50_000.0, "allow_short": True}
        bands = {"ema": due.ema, "sd": sd, "buy_below": below, "sell_above": above, "buy": buy, "sell": sell}
        base = {"symbol": symbol, "ts": ts, "reason": due.reason, "quote_ts": due.quote_ts}
        found.signals.append(base | {"bid": due.bid, "ask": due.ask, "verdict": verdict, "control": control} | bands)
        buys = verdict == "BUY" and not position and not end
        shares = 100.0 if buys else 0.0
        execution = {"side": "BUY" if buys else None, "shares": shares, "price": due.ask, "fee": 0.0}
        execution |= {"position_before": position, "position_after": position + shares}
        if buys:
            position, cash = shares, -shares * due.ask
            trade = {"id": f"{symbol}-{ts}", "symbol": symbol, "ts": ts, "side": "BUY", "shares": shares}
            found.trades.append(trade | {"price": due.ask, "fee": 0.0})
        found.executions.append(base | execution)
        found.pnl_rows[symbol, ts] += 1
        found.event_ids["signals", f"{symbol}-{ts}-{end}"] += 1
        mark = (due.bid + due.ask) / 2
        unrealised = cash + position * mark
        money = {"mark": mark, "realised": 0.0, "unrealised": unrealised, "fees": 0.0, "net": unrealised}
        found.pnl["AAPL"] = base | money
    found.positions["AAPL"] = {"symbol": "AAPL", "shares": position, "cash": cash, "trades": len(found.trades)}


def failing(found: Evidence, calm: Evidence | None = None) -> set[str]:
    return {check.name for check in audit(found, calm) if not check.good}


def test_a_sound_run_passes_every_check() -> None:
    found = sound()
    assert len(found.trades) == 1
    assert len(found.signals) == SECONDS * NS // DECISION_NS + 1
    assert failing(found, copy.deepcopy(found)) == set()


def lose_a_signal(found: Evidence) -> None:
    del found.signals[5]


def repeat_a_trade(found: Evidence) -> None:
    found.trades.append(found.trades[0])


def swap_signals(found: Evidence) -> None:
    found.signals[3], found.signals[4] = found.signals[4], found.signals[3]


def repeat_an_event(found: Evidence) -> None:
    found.event_ids[next(iter(found.event_ids))] += 1


def move_an_average(found: Evidence) -> None:
    found.signals[8]["ema"] *= 1 + 1e-8


def turn_a_verdict(found: Evidence) -> None:
    row = next(row for row in found.signals if row["verdict"] == "HOLD" and row["reason"] is None)
    row["verdict"] = "SELL"


def take_an_older_quote(found: Evidence) -> None:
    found.signals[9]["quote_ts"] -= 1


def lose_an_execution(found: Evidence) -> None:
    del found.executions[2]


def count_one_less(found: Evidence) -> None:
    found.checkpoints["signals", 0]["counters"]["used"] -= 1


def run_ahead_of_the_group(found: Evidence) -> None:
    found.checkpoints["execution", 0]["offset"] += 1


def set_aside_twice(found: Evidence) -> None:
    found.dead *= 2


def lose_a_mark(found: Evidence) -> None:
    found.preds["AAPL"].count -= 1


def spoil_a_position(found: Evidence) -> None:
    found.positions["AAPL"]["shares"] += 1


def spoil_profit(found: Evidence) -> None:
    found.pnl["AAPL"]["unrealised"] += 0.01


def fill_while_halted(found: Evidence) -> None:
    ids = {trade["ts"] for trade in found.trades}
    next(row for row in found.signals if row["ts"] in ids)["control"]["state"] = "HALTED"


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (lose_a_signal, "every decision due, once"),
        (repeat_a_trade, "no id twice"),
        (repeat_an_event, "no id twice"),
        (swap_signals, "every decision due, once"),
        (move_an_average, "contents of signals"),
        (turn_a_verdict, "contents of signals"),
        (take_an_older_quote, "contents of signals"),
        (lose_an_execution, "signals, executions and pnl in step"),
        (count_one_less, "every input record accounted for"),
        (run_ahead_of_the_group, "checkpoint = offset of the group"),
        (set_aside_twice, "dead letters, each once"),
        (lose_a_mark, "every mark due, once (ticks_bid_ask, preds)"),
        (spoil_a_position, "positions = sum of trades"),
        (spoil_profit, "pnl = sum of s(mark - price)"),
        (fill_while_halted, "limits and states kept"),
    ],
)
def test_the_auditor_finds(spoil: Callable[[Evidence], None], check: str) -> None:
    found = sound()
    spoil(found)
    assert check in failing(found)


def test_another_trade_than_in_the_undisturbed_run_is_found() -> None:
    found, calm = sound(), sound()
    found.trades[0]["price"] += 1e-9
    assert "trades as in the undisturbed run" in failing(found, calm)
