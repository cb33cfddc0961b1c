"""Every figure of a backtest's tables and report, computed once more in plain Python from quotes and executions."""

from __future__ import annotations

import bisect
import datetime
import math
import statistics
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq
import pytest

from agents.backtest.collect import Outputs, Summary
from agents.backtest.controls import same_for_all
from agents.backtest.running import run
from agents.backtest.synthetic import month_of_quotes
from agents.backtest.variant import Options
from agents.feeds.generator import WalkSettings
from agents.strategy.settings import Settings
from schemas.records import Control
from schemas.times import NS
from tests.backtest.helpers import collect, plan_of

SETTINGS = Settings(band_sd=0.7, fee_per_share=0.001, fee_bps=0.2, session="XNYS")
Row = dict[str, Any]


@dataclass
class Result:
    """A month of two symbols: its quotes, and all that the backtest wrote."""

    quotes: dict[str, list[Row]]
    tables: dict[str, list[Row]]
    summary: Summary
    bounds: dict[datetime.date, tuple[int, int]]


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("month")
    list(month_of_quotes(folder / "data", "2013-11", "XNYS", WalkSettings(symbols=2, rate=0.4, seed=3)))
    rows = [row for file in sorted((folder / "data").rglob("*.parquet")) for row in pq.read_table(file).to_pylist()]
    quotes: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["ts"]):
        quotes.setdefault(row["symbol"], []).append(row)
    controls = same_for_all(quotes, Control(max_position_dollars=5_000, lot_shares=30))
    plan = plan_of(folder / "data", folder / "work", controls, SETTINGS, options=Options(all_executions=True))
    run(plan, 1)
    (summary,) = collect(plan, Outputs(folder=folder / "out"))
    tables = {path.stem: pq.read_table(path).to_pylist() for path in (folder / "out").glob("*.parquet")}
    bounds: dict[datetime.date, tuple[int, int]] = {}
    for row in rows:
        first, last = bounds.get(date := date_of(row["ts"]), (row["ts"], row["ts"]))
        bounds[date] = min(first, row["ts"]), max(last, row["ts"])
    return Result(quotes, tables, summary, dict(sorted(bounds.items())))


@dataclass
class Book:
    """Average cost, in plain words."""

    shares: float = 0.0
    cost: float = 0.0
    realised: float = 0.0
    fees: float = 0.0

    def fill(self, signed: float, price: float) -> float:
        """What the fill realises."""
        gained = 0.0
        if self.shares * signed < 0:
            closed = min(abs(signed), abs(self.shares))
            gained = closed * (price - self.cost) * math.copysign(1, self.shares)
        if self.shares * signed >= 0:
            self.cost = (abs(self.shares) * self.cost + abs(signed) * price) / (abs(self.shares) + abs(signed))
        elif abs(signed) > abs(self.shares):
            self.cost = price
        self.shares = round(self.shares + signed, 8)
        self.realised += gained
        return gained

    def net(self, mid: float) -> float:
        return self.realised + self.shares * (mid - self.cost) - self.fees


@dataclass
class Replayed:
    """What executions come to, in their order: net by (date, symbol) at its end, equity by minute, counts."""

    net: dict[tuple[datetime.date, str], float] = field(default_factory=dict)
    equity: list[float] = field(default_factory=list)
    fills: int = 0
    closing_gains: list[float] = field(default_factory=list)
    held: list[tuple[datetime.date, str, float]] = field(default_factory=list)


@pytest.fixture(scope="module")
def replayed(month: Result) -> Replayed:
    found = Replayed()
    books = {symbol: Book() for symbol in month.quotes}
    net = dict.fromkeys(month.quotes, 0.0)
    for date, (first, last) in month.bounds.items():
        of_date = [row for row in month.tables["executions"] if row["date"] == date]
        minute, end = first // (60 * NS), last // (60 * NS)
        for row in sorted(of_date, key=lambda row: row["ts"]):
            # The last signal of a run bears the end's own time.
            while row["ts"] // (60 * NS) > minute and minute < end:
                found.equity.append(sum(net.values()))
                minute += 1
            symbol, book = row["symbol"], books[row["symbol"]]
            if row["trade_id"]:
                closes = book.shares > 0 if row["side"] == "SELL" else book.shares < 0
                gain = book.fill(row["shares"] if row["side"] == "BUY" else -row["shares"], row["price"])
                book.fees += row["fee"]
                found.fills += 1
                found.closing_gains += [gain] if closes else []
            assert book.shares == row["position_after"]
            net[symbol] = book.net(row["mid"])
            found.net[date, symbol] = net[symbol]
            found.held.append((date, symbol, abs(book.shares) * row["mid"]))
        found.equity += [sum(net.values())] * (end - minute + 1)
    return found


def date_of(ts: int) -> datetime.date:
    return datetime.datetime.fromtimestamp(ts // NS, datetime.UTC).date()


def test_the_month_has_what_is_to_be_counted(month: Result) -> None:
    assert len(month.bounds) == 20
    assert len(month.tables["trades"]) > 500
    assert len({row["reason"] for row in month.tables["trades"]}) == 2


def test_fees_are_those_of_each_fill(month: Result) -> None:
    for row in month.tables["trades"]:
        fee = row["shares"] * 0.001 + row["shares"] * row["price"] * 0.2 / 10_000
        assert row["fee"] == pytest.approx(fee, rel=1e-12)


def test_net_by_date_and_symbol(month: Result, replayed: Replayed) -> None:
    last = dict.fromkeys(month.quotes, 0.0)
    changes = {}
    for (date, symbol), net in replayed.net.items():
        changes[date, symbol] = net - last[symbol]
        last[symbol] = net
    for row in month.tables["days"]:
        assert row["net_change"] == pytest.approx(changes[row["date"], row["symbol"]], abs=1e-7)
    for row in month.tables["dates"]:
        wanted = sum(change for (date, _), change in changes.items() if str(date) == row["date"])
        assert row["net_change"] == pytest.approx(wanted, abs=1e-7)
    for row in month.tables["symbols"]:
        wanted = sum(change for (_, symbol), change in changes.items() if symbol == row["symbol"])
        assert row["net_change"] == pytest.approx(wanted, abs=1e-7)
    for row in month.tables["pnl"]:
        assert row["net"] == pytest.approx(last[row["symbol"]], abs=1e-7)


def test_equity_drawdown_and_sharpe(month: Result, replayed: Replayed) -> None:
    (totals,) = month.tables["totals"]
    peak = fall = 0.0
    for value in replayed.equity:
        peak = max(peak, value)
        fall = min(fall, value - peak)
    assert fall < 0
    assert totals["max_drawdown"] == pytest.approx(fall, abs=1e-7)
    assert month.summary.equity[-1] == pytest.approx(replayed.equity[-1], abs=1e-7)
    assert {round(value, 6) for value in month.summary.equity} <= {round(value, 6) for value in replayed.equity}
    daily = [row["net_change"] for row in month.tables["dates"]]
    wanted = statistics.mean(daily) / statistics.stdev(daily) * math.sqrt(252)
    assert totals["sharpe"] == pytest.approx(wanted, rel=1e-9)
    assert (totals["best_day"], totals["worst_day"]) == (max(daily), min(daily))


def test_counts_rates_and_exposure(month: Result, replayed: Replayed) -> None:
    (totals,) = month.tables["totals"]
    trades, executions = month.tables["trades"], month.tables["executions"]
    closing = replayed.closing_gains
    assert 0.0 in closing
    turnover = sum(row["shares"] * row["price"] for row in trades)
    outcomes = [row["outcome"] for row in executions]
    assert totals["trades"] == len(trades) == replayed.fills
    assert totals["buys"] == sum(row["side"] == "BUY" for row in trades)
    assert totals["turnover"] == pytest.approx(turnover)
    assert totals["hit_rate"] == pytest.approx(sum(gain > 0 for gain in closing) / len(closing))
    assert totals["time_in_market"] == pytest.approx(sum(held != 0 for *_, held in replayed.held) / len(executions))
    assert totals["refused"] == outcomes.count("REFUSED") > 0
    assert totals["clipped"] == outcomes.count("CLIPPED") > 0
    of_verdicts = sum(row["reason"] == "SIGNAL" for row in trades)
    wanted = totals["buys_wanted"] + totals["sells_wanted"]
    assert of_verdicts < len(trades) and totals["filled_share"] == of_verdicts / wanted < 1
    assert totals["net_bps_of_turnover"] == pytest.approx(totals["net_change"] / turnover * 1e4)
    by_symbol = {symbol: [held for _, s, held in replayed.held if s == symbol] for symbol in month.quotes}
    assert totals["mean_exposure"] == pytest.approx(sum(statistics.mean(held) for held in by_symbol.values()))
    assert totals["max_exposure"] == pytest.approx(max(held for *_, held in replayed.held))


def test_markouts(month: Result) -> None:
    times = {symbol: [row["ts"] for row in rows] for symbol, rows in month.quotes.items()}
    for horizon, shown in zip((1, 10, 60), month.summary.markouts.rows(), strict=True):
        moves, dollars = [], 0.0
        for trade in month.tables["trades"]:
            then = trade["ts"] + horizon * NS
            if then > month.bounds[trade["date"]][1]:
                continue
            quote = month.quotes[trade["symbol"]][bisect.bisect_left(times[trade["symbol"]], then) - 1]
            sign = 1 if trade["side"] == "BUY" else -1
            move = sign * ((quote["bid"] + quote["ask"]) / 2 - trade["price"])
            moves.append(move / trade["price"] * 1e4)
            dollars += move * trade["shares"]
        assert shown["count"] == len(moves) > 500
        assert shown["bps"] == pytest.approx(statistics.mean(moves), abs=1e-9)
        assert shown["dollars"] == pytest.approx(dollars, abs=1e-6)
        # The page calls a mean's standard error what is left of it with the population's deviation.
        error = statistics.pstdev(moves) / math.sqrt(len(moves) - 1)
        assert shown["error"] == pytest.approx(error, rel=1e-6)


@dataclass
class Moments:
    """The moving average and deviation of one symbol, by the formula as it stands in the paper."""

    tau: float
    first: int = 0
    last: int = 0
    quote: Row = field(default_factory=dict)
    ema: float = 0.0
    var: float = 0.0
    sd: float = math.nan

    def take(self, row: Row) -> None:
        x = (row["bid"] + row["ask"]) / 2
        if not self.first:
            self.first, self.ema = row["ts"], x
        else:
            gap = (row["ts"] - self.last) / NS
            if gap > SETTINGS.gap_taus * self.tau:
                self.first = row["ts"]
            a = math.exp(-gap / self.tau)
            self.var = a * (self.var + (1 - a) * (x - self.ema) ** 2)
            self.ema = a * self.ema + (1 - a) * x
            self.sd = math.sqrt(self.var)
        self.last, self.quote = row["ts"], row

    @property
    def warm(self) -> bool:
        return self.last - self.first > SETTINGS.warmup_seconds * NS


def test_predictions(month: Result) -> None:
    for symbol, rows in month.quotes.items():
        shown = next(row for row in month.tables["predictions"] if row["symbol"] == symbol)
        signals = [row for row in month.tables["executions"] if row["symbol"] == symbol]
        moments, place = Moments(SETTINGS.tau_seconds), 0
        deviations, spreads, edges = [], [], []
        for signal in sorted(signals, key=lambda row: row["ts"]):
            while place < len(rows) and (rows[place]["ts"] < signal["ts"] or signal["reason"] == "END"):
                moments.take(rows[place])
                place += 1
            quote, mid = moments.quote, signal["mid"]
            assert mid == (quote["bid"] + quote["ask"]) / 2
            fresh = signal["ts"] - moments.last <= SETTINGS.max_quote_age_seconds * NS
            if not (moments.warm and fresh):
                continue
            deviations.append(moments.sd / mid * 1e4)
            spreads.append((quote["ask"] - quote["bid"]) / mid * 1e4)
            below = moments.ema - SETTINGS.band_sd * moments.sd - quote["ask"]
            above = quote["bid"] - moments.ema - SETTINGS.band_sd * moments.sd
            if max(below, above) > 0 and signal["reason"] != "END":
                edges.append(max(below, above) / mid * 1e4)
        assert shown["signals"] == len(signals)
        assert shown["warm"] == len(deviations) > 1_000
        assert shown["buys_wanted"] + shown["sells_wanted"] == len(edges) > 200
        for name, values in (("sd", deviations), ("spread", spreads), ("edge", edges)):
            assert shown[f"mean_{name}_bps"] == pytest.approx(statistics.mean(values), rel=1e-8)
