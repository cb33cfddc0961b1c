"""The reference with the original's rules against what Deephaven 42.7 computed (golden/README.md)."""

import csv
import gzip
import math
from pathlib import Path
from typing import Any

import pytest

from tests.strategy.reference import Reference
from tests.strategy.reference_settings import ReferenceSettings

GOLDEN = Path(__file__).parent / "golden"
FILES = ("ordinary", "edge")
QUOTE_FIELDS = ("bid", "bid_size", "ask", "ask_size")
UNUSABLE_ROWS = {"ordinary": 0, "edge": 332}
CROSSED_ROWS = {"ordinary": 0, "edge": 66}


def rows(name: str) -> list[dict[str, str]]:
    """The rows of a golden file, packed or not."""
    path = GOLDEN / f"{name}.csv"
    content = path.read_bytes() if path.exists() else gzip.decompress(Path(f"{path}.gz").read_bytes())
    return list(csv.DictReader(content.decode().splitlines()))


def replay(name: str) -> Reference:
    """A desk that has taken the whole file, controls in place from the start, no final clock."""
    desk = Reference(ReferenceSettings.original(marks="every"))
    for version, control in enumerate(rows("controls")):
        limit = float(control["max_position_dollars"])
        desk.control(control["symbol"], version, {"max_position_dollars": limit})
    for row in rows(f"quotes_{name}"):
        desk.quote(row["symbol"], int(row["ts_ns"]), *(float(row[field]) for field in QUOTE_FIELDS))
    return desk


def action(signal: dict[str, Any], execution: dict[str, Any]) -> str:
    """The golden files' word for a signal and what came of it."""
    if signal["reason"] == "WARMUP":
        return "COLD"
    return execution["side"] if execution["outcome"] == "FILLED" else "NO TRADE"


def agrees(ours: float, golden: str, rel_tol: float) -> bool:
    """Whether a number is the golden one, NaN being like NaN."""
    expected = float(golden)
    return math.isclose(ours, expected, rel_tol=rel_tol) or (math.isnan(ours) and math.isnan(expected))


def decisions(desk: Reference) -> list[tuple[Any, ...]]:
    """(decision time, quote's ts, symbol, bid, ask, mid, buy_below, sell_above, position before, action)."""
    table = []
    for signal, execution in zip(desk.signals, desk.executions, strict=True):
        if signal["reason"] == "END":
            continue
        names = ("ts", "quote_ts", "symbol", "bid", "ask", "mid", "buy_below", "sell_above")
        row = tuple(signal[name] for name in names)
        table.append((*row, execution["position_before"], action(signal, execution)))
    return sorted(table, key=lambda row: (row[0], row[2]))


def fills(desk: Reference) -> list[tuple[Any, ...]]:
    """(decision time, quote's ts, symbol, price, signed size, position after)."""
    table = []
    for trade in desk.trades:
        size = trade["shares"] if trade["side"] == "BUY" else -trade["shares"]
        when = (trade["ts"], trade["quote_ts"], trade["symbol"])
        table.append((*when, trade["price"], size, trade["position_after"]))
    return sorted(table, key=lambda row: (row[0], row[2]))


def golden_fills(name: str) -> list[tuple[Any, ...]]:
    """The same of a golden file, which is in that order."""
    table = []
    for trade in rows(name):
        when = (int(trade["boundary_ns"]), int(trade["ts_ns"]), trade["symbol"])
        table.append((*when, float(trade["price"]), float(trade["size"]), float(trade["position"])))
    return table


@pytest.fixture(scope="module", params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def before_the_end(name: str) -> list[tuple[Any, ...]]:
    """The fills of a replay without clocks."""
    return fills(replay(name))


@pytest.fixture(scope="module")
def desk(name: str) -> Reference:
    """A replay that ends with a clock at the largest usable ts."""
    desk = replay(name)
    desk.clock(max(state.quote.ts for state in desk.symbols.values()), end=True)
    return desk


def test_unusable_and_crossed_rows_are_counted(name: str, desk: Reference) -> None:
    used = len(rows(f"preds_{name}"))
    assert desk.counts["used"] == used
    assert desk.counts["bad_price"] + desk.counts["bad_size"] == UNUSABLE_ROWS[name]
    assert desk.counts["crossed"] == CROSSED_ROWS[name]
    assert desk.counts["late"] == 0
    assert used + UNUSABLE_ROWS[name] == len(rows(f"quotes_{name}"))


def test_predictions_agree_on_every_quote(name: str, desk: Reference) -> None:
    golden = rows(f"preds_{name}")
    assert len(desk.marks) == len(golden)
    for mark, row in zip(desk.marks, golden, strict=True):
        assert (mark["ts"], mark["symbol"]) == (int(row["ts_ns"]), row["symbol"])
        assert agrees(mark["ema"], row["pred_price"], 1e-12)
        assert agrees(mark["sd"], row["pred_sd"], 1e-9)
        assert agrees(mark["buy_below"], row["pred_buy"], 1e-12)
        assert agrees(mark["sell_above"], row["pred_sell"], 1e-12)


def test_every_decision_agrees(name: str, desk: Reference) -> None:
    golden = rows(f"evals_{name}")
    ours = decisions(desk)
    assert len(ours) == len(golden)
    for row, expected in zip(ours, golden, strict=True):
        ts, quote_ts, symbol, bid, ask, mid, buy_below, sell_above, position, what = row
        assert (ts, quote_ts) == (int(expected["boundary_ns"]), int(expected["ts_ns"]))
        assert (symbol, what) == (expected["symbol"], expected["action"])
        assert (bid, ask, mid) == tuple(float(expected[field]) for field in ("bid", "ask", "mid"))
        assert agrees(buy_below, expected["pred_buy"], 1e-12)
        assert agrees(sell_above, expected["pred_sell"], 1e-12)
        assert position == float(expected["position_before"])


def test_trades_are_identical(name: str, desk: Reference) -> None:
    assert fills(desk) == golden_fills(f"trades_{name}")


def test_trades_without_a_final_clock_are_those_the_own_quotes_fire(
    name: str, before_the_end: list[tuple[Any, ...]]
) -> None:
    assert before_the_end == golden_fills(f"trades_{name}_perkey")


def test_profit_agrees_at_the_last_mid(name: str, desk: Reference) -> None:
    for row in rows(f"pnl_{name}"):
        pnl = desk.pnl[row["symbol"]]
        assert pnl["net"] == pytest.approx(float(row["pnl_correct_sign"]), abs=1e-6)
        assert pnl["net"] == pytest.approx(-float(row["pnl_original_formula"]), abs=1e-6)
        assert pnl["shares"] == float(row["position"])
        assert pnl["mark"] == float(row["mid_last"])
        assert desk.positions[row["symbol"]]["trades"] == int(row["trades"])


def test_the_end_leaves_one_last_signal_a_symbol(desk: Reference) -> None:
    last = [signal["symbol"] for signal in desk.signals if signal["reason"] == "END"]
    assert sorted(last) == ["AAPL", "BAC", "GOOG"]
