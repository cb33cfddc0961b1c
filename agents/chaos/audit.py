"""Checks over what a run left on the broker: nothing lost, nothing twice, and the books agree."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from agents.chaos.due import Due, by_key
from agents.chaos.evidence import SOURCES, Evidence, digest

_SKIPPED = ("bad_ts", "future", "not_finite", "bad_price", "bad_size", "clock_back")
_CLOSE = 1e-9
_CENTS = 1e-6
_SHOWN = 3


@dataclass(frozen=True)
class Check:
    """One question, its answer and the figure."""

    name: str
    good: bool
    figure: str

    @property
    def line(self) -> str:
        """The check on one line."""
        return f"{'ok  ' if self.good else 'FAIL'}  {self.name}: {self.figure}"


def audit(found: Evidence, calm: Evidence | None = None) -> list[Check]:
    """All checks; calm: the evidence of the undisturbed run on the same input."""
    checks: list[Callable[[Evidence], Check]] = [
        _input_accounted,
        _offsets,
        _dead_letters,
        _ids,
        _decisions,
        _contents,
        _marks,
        _counts,
        _chain,
        _limits,
        _positions,
        _oracle,
    ]
    results = [check(found) for check in checks]
    return results + (list(_as_undisturbed(found, calm)) if calm is not None else [])


def _as_undisturbed(found: Evidence, calm: Evidence) -> Iterator[Check]:
    yield _same("input as in the undisturbed run", found.quotes_digest, calm.quotes_digest)
    for name in ("trades", "signals", "executions"):
        rows, others = getattr(found, name), getattr(calm, name)
        yield _same(
            f"{name} as in the undisturbed run", f"{len(rows):,} {digest(rows)}", f"{len(others):,} {digest(others)}"
        )
    for name in ("positions", "pnl", "orders"):
        table, other = getattr(found, name), getattr(calm, name)
        yield _same(f"{name} as in the undisturbed run", digest(table.values()), digest(other.values()))


def _same(name: str, found: str, calm: str) -> Check:
    return Check(name, found == calm, found if found == calm else f"{found}, undisturbed {calm}")


# -- input -----------------------------------------------------------------------------------------------------------


def _input_accounted(found: Evidence) -> Check:
    """Each record of quotes is used, late, skipped for a reason, a clock, or set aside; as our own reading says."""
    own: Counter[str] = Counter()
    for part in found.partitions.values():
        own.update(part.counted)
    counters: Counter[str] = Counter()
    for (role, _), row in found.checkpoints.items():
        if role == "signals":
            counters.update(row["counters"])
    theirs = {
        "used": counters["used"],
        "late": counters["late"],
        "clock": counters["clock"],
        "malformed": counters["dead_lettered"],
        "other": sum(counters[name] for name in _SKIPPED),
    }
    differing = {name: (count, own[name]) for name, count in theirs.items() if count != own[name]}
    total = sum(theirs.values())
    text = ", ".join(f"{name} {count:,}" for name, count in theirs.items())
    wrong = f"; differs from own reading (theirs, own): {differing}" if differing else ""
    return Check(
        "every input record accounted for",
        not differing and total == own["records"],
        f"{total:,} of {own['records']:,} ({text}){wrong}",
    )


def _offsets(found: Evidence) -> Check:
    """Checkpoint and group agree for every role and partition, and nothing of quotes is left unread."""
    wrong = []
    for role in SOURCES:
        for partition, end in found.ends.items():
            row = found.checkpoints.get((role, partition))
            offset, group = row["offset"] if row else None, found.group.get((role, partition))
            if offset != group or (role == "signals" and offset != end):
                wrong.append(f"{role} {partition}: checkpoint {offset}, group {group}, quotes end {end}")
    return Check(
        "checkpoint = offset of the group", not wrong, _list(wrong, f"{len(SOURCES) * len(found.ends)} partitions")
    )


def _dead_letters(found: Evidence) -> Check:
    """Every malformed record is in dead-letters once, and nothing else is."""
    due = Counter((part, offset) for part, read in found.partitions.items() for offset in read.malformed)
    there = Counter((partition, offset) for _, partition, offset in found.dead)
    return _equal("dead letters, each once", there, due)


# -- output ----------------------------------------------------------------------------------------------------------


def _ids(found: Evidence) -> Check:
    twice = [f"{topic} {id_} ×{count}" for (topic, id_), count in found.event_ids.items() if count > 1]
    trades = Counter(trade["id"] for trade in found.trades)
    twice += [f"trade {id_} ×{count}" for id_, count in trades.items() if count > 1]
    return Check("no id twice", not twice, _list(twice, f"{len(found.event_ids):,} ids"))


def _key(row: dict[str, Any]) -> tuple[str, int, bool]:
    return row["symbol"], row["ts"], row["reason"] == "END"


def _decisions(found: Evidence) -> Check:
    """Every decision that is due is there once, in its order, and no other."""
    due = by_key(list(found.partitions.values()))
    there = Counter(_key(row) for row in found.signals)
    check = _equal("every decision due, once", there, Counter(dict.fromkeys(due, 1)))
    last: dict[str, tuple[int, bool]] = {}
    for symbol, ts, end in map(_key, found.signals):
        if (ts, end) <= last.get(symbol, (0, False)):
            return Check(check.name, False, f"{symbol} {ts} comes after {last[symbol]}; {check.figure}")
        last[symbol] = ts, end
    return check


def _contents(found: Evidence) -> Check:
    """Quote, average, deviation, verdict and control of every signal, by our own formulas."""
    due = by_key(list(found.partitions.values()))
    wrong = [
        f"{row['symbol']} {row['ts']}: {what}"
        for row in found.signals
        if _key(row) in due and (what := _wrong_in(row, due[_key(row)]))
    ]
    return Check("contents of signals", not wrong, _list(wrong, f"{len(found.signals):,} recomputed"))


def _wrong_in(row: dict[str, Any], due: Due) -> str | None:
    control = row["control"]
    said = row["quote_ts"], row["bid"], row["ask"], row["reason"], control["version"], control["star_version"]
    wanted = due.quote_ts, due.bid, due.ask, due.reason, due.version, due.star_version
    if said != wanted or control["state"] != due.state:
        return f"says {said} {control['state']}, due {wanted} {due.state}"
    sd = math.nan if row["sd"] is None else row["sd"]
    if not _near(row["ema"], due.ema, due.ema) or not _near(sd, due.sd, due.ema):
        return f"ema {row['ema']}, sd {sd}, due {due.ema}, {due.sd}"
    if math.isnan(sd):
        return None if row["verdict"] == "HOLD" else "a verdict without bands"
    if not _near(row["buy_below"], due.ema - due.sd, due.ema) or not _near(
        row["sell_above"], due.ema + due.sd, due.ema
    ):
        return "bands are not one deviation around the average"
    buy, sell = row["ask"] < row["buy_below"], row["bid"] > row["sell_above"]
    verdict = "HOLD" if due.reason in ("STALE", "WARMUP") else "BUY" if buy else "SELL" if sell else "HOLD"
    if (row["buy"], row["sell"]) != (buy, sell) or (due.reason != "END" and row["verdict"] != verdict):
        return f"verdict {row['verdict']}, due {verdict}"
    return None


def _near(value: float, due: float, scale: float) -> bool:
    return (math.isnan(value) and math.isnan(due)) or abs(value - due) <= _CLOSE * abs(scale)


def _marks(found: Evidence) -> Check:
    due = {symbol: marks for part in found.partitions.values() for symbol, marks in part.marks.items()}
    wrong = [
        f"{name} of {symbol}"
        for name in ("ticks", "preds")
        for symbol in due | getattr(found, name)
        if due.get(symbol) != getattr(found, name).get(symbol)
    ]
    total = sum(marks.count for marks in due.values())
    return Check("every mark due, once (ticks_bid_ask, preds)", not wrong, _list(wrong, f"{total:,} of each"))


def _counts(found: Evidence) -> Check:
    """One execution for each signal, one step of pnl for each execution."""
    used = Counter[str]()
    for (role, _), row in found.checkpoints.items():
        used[role] += row["counters"]["used"]
    signals, executions = Counter(map(_key, found.signals)), Counter(map(_key, found.executions))
    last = {row["symbol"]: row["ts"] for row in found.executions}
    stepped = {symbol: row["ts"] for symbol, row in found.pnl.items()}
    too_many = found.pnl_rows - Counter((row["symbol"], row["ts"]) for row in found.executions)
    good = signals == executions and last == stepped and not too_many
    good = good and used["execution"] == len(found.signals) and used["portfolio"] == len(found.executions)
    return Check(
        "signals, executions and pnl in step",
        good,
        f"{len(found.signals):,} signals ({used['execution']:,} taken), {len(found.executions):,} executions "
        f"({used['portfolio']:,} taken), pnl up to the last of {len(last)} symbols"
        + ("" if good else f"; differing {list((signals - executions) + (executions - signals))[:_SHOWN]}"),
    )


def _chain(found: Evidence) -> Check:
    """Positions before and after follow each other, and every fill is a trade with the same numbers."""
    trades = {trade["id"]: trade for trade in found.trades}
    position: dict[str, float] = defaultdict(float)
    wrong, fills = [], 0
    for row in found.executions:
        signed = (1 if row["side"] == "BUY" else -1) * row["shares"] if row["shares"] else 0.0
        symbol = row["symbol"]
        if row["position_before"] != position[symbol] or row["position_after"] != position[symbol] + signed:
            wrong.append(f"{symbol} {row['ts']}: from {position[symbol]} by {signed} to {row['position_after']}")
        position[symbol] = row["position_after"]
        if signed:
            fills += 1
            trade = trades.get(f"{symbol}-{row['ts']}")
            if trade is None or any(trade[name] != row[name] for name in ("side", "shares", "price", "fee")):
                wrong.append(f"{symbol} {row['ts']}: the fill is {'not ' if trade is None else ''}another trade")
    if fills != len(trades):
        wrong.append(f"{len(trades)} trades for {fills} fills")
    return Check("positions follow fill by fill", not wrong, _list(wrong, f"{fills:,} fills"))


def _limits(found: Evidence) -> Check:
    """No fill that opens or adds goes beyond the limit, none happens where the state forbids it."""
    signals = {_key(row): row for row in found.signals}
    wrong = []
    for row in found.executions:
        signal = signals.get(_key(row))
        if not row["shares"] or signal is None:
            continue
        control, before, after = signal["control"], row["position_before"], row["position_after"]
        adds = abs(after) > abs(before) or before * after < 0
        if row["price"] != (signal["ask"] if row["side"] == "BUY" else signal["bid"]):
            wrong.append(f"{row['symbol']} {row['ts']}: price {row['price']}")
        if adds and abs(after) * row["price"] > control["max_position_dollars"] * (1 + _CLOSE):
            wrong.append(f"{row['symbol']} {row['ts']}: {abs(after) * row['price']:.2f} dollars")
        if control["state"] == "HALTED" or (adds and control["state"] != "ACTIVE"):
            wrong.append(f"{row['symbol']} {row['ts']}: a fill while {control['state']}")
        if after < 0 and adds and not control["allow_short"]:
            wrong.append(f"{row['symbol']} {row['ts']}: short")
    return Check("limits and states kept", not wrong, _list(wrong, f"{len(found.trades):,} trades"))


# -- books -----------------------------------------------------------------------------------------------------------


def _by_symbol(found: Evidence) -> dict[str, list[tuple[float, float, float]]]:
    """Signed shares, price and fee of each symbol's trades."""
    book: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for trade in found.trades:
        sign = 1 if trade["side"] == "BUY" else -1
        book[trade["symbol"]].append((sign * trade["shares"], trade["price"], trade["fee"]))
    return book


def _positions(found: Evidence) -> Check:
    book = _by_symbol(found)
    wrong = []
    for symbol, row in found.positions.items():
        trades = book.get(symbol, [])
        shares = sum(signed for signed, _, _ in trades)
        cash = -sum(signed * price + fee for signed, price, fee in trades)
        gross = sum(abs(signed) * price for signed, price, _ in trades)
        if row["shares"] != shares or row["trades"] != len(trades) or abs(row["cash"] - cash) > _cents(gross):
            wrong.append(f"{symbol}: {row['shares']} shares, {row['cash']} dollars; trades say {shares}, {cash}")
    wrong += [f"{symbol} has trades and no position" for symbol in book if symbol not in found.positions]
    figure = f"{len(found.positions)} symbols, {sum(row['shares'] for row in found.positions.values()):,.0f} shares net"
    return Check("positions = sum of trades", not wrong, _list(wrong, figure))


def _oracle(found: Evidence) -> Check:
    """Realised and unrealised together are what marking every trade to the last mark gives."""
    book = _by_symbol(found)
    wrong, net = [], 0.0
    for symbol, row in found.pnl.items():
        trades = book.get(symbol, [])
        due = sum(signed * (row["mark"] - price) for signed, price, _ in trades)
        gross = sum(abs(signed) * price for signed, price, _ in trades)
        said = row["realised"] + row["unrealised"]
        net += row["net"]
        if abs(said - due) > _cents(gross) or abs(row["net"] - said + row["fees"]) > _cents(gross):
            wrong.append(f"{symbol}: {said} dollars, due {due}")
    return Check("pnl = sum of s(mark - price)", not wrong, _list(wrong, f"{net:,.2f} dollars net"))


def _cents(gross: float) -> float:
    return _CENTS + 1e-11 * gross


# -- telling -----------------------------------------------------------------------------------------------------------


def _equal(name: str, there: Counter[Any], due: Counter[Any]) -> Check:
    lost, extra = due - there, there - due
    wrong = [f"{lost.total():,} missing, e.g. {list(itertools.islice(lost, _SHOWN))}"] if lost else []
    wrong += [f"{extra.total():,} too many, e.g. {list(itertools.islice(extra, _SHOWN))}"] if extra else []
    return Check(name, not wrong, _list(wrong, f"{due.total():,}"))


def _list(wrong: list[str], figure: str) -> str:
    """The figure, or the first of what is wrong."""
    if not wrong:
        return figure
    more = f" and {len(wrong) - _SHOWN:,} more" if len(wrong) > _SHOWN else ""
    return f"{figure}; {'; '.join(wrong[:_SHOWN])}{more}"
