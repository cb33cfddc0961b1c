"""Deephaven's own results come out of the whole pipeline on a broker."""

import math
from collections.abc import Callable

import msgspec
import pytest

from agents.strategy.settings import Marks, Settings
from tests.integration import golden
from tests.integration.pipeline import Pipeline

ORIGINAL = msgspec.structs.replace(Settings.original(), marks=Marks.EVERY)
# The golden files call a decision by what was done; a signal says what was wanted.
WARM = {"NO TRADE", "BUY", "SELL"}


@pytest.mark.parametrize("case", golden.CASES)
def test_pipeline_agrees_with_deephaven(case: str, pipeline: Callable[..., Pipeline]) -> None:
    desk = pipeline(settings=ORIGINAL)
    for symbol, control in golden.controls().items():
        desk.control(symbol, control)
    desk.quotes(golden.quotes(case))
    desk.start_all()
    desk.wait_until_drained()

    agree_on_predictions(desk, case)
    agree_on_decisions(desk, case)
    found = [
        (
            trade["ts"],
            trade["quote_ts"],
            trade["symbol"],
            trade["price"],
            trade["shares"] if trade["side"] == "BUY" else -trade["shares"],
            trade["position_after"],
        )
        for trade in desk.trades()
    ]
    assert sorted(found) == sorted(golden.trades(case))
    pnl = desk.pnl()
    for row in golden.table(f"pnl_{case}"):
        assert pnl[row["symbol"]]["net"] == pytest.approx(float(row["pnl_correct_sign"]), abs=1e-6)
        assert pnl[row["symbol"]]["shares"] == float(row["position"])
        assert pnl[row["symbol"]]["mark"] == float(row["mid_last"])


def agree_on_predictions(desk: Pipeline, case: str) -> None:
    wanted: dict[str, list[dict[str, str]]] = {}
    for row in golden.table(f"preds_{case}"):
        wanted.setdefault(row["symbol"], []).append(row)
    found: dict[str, list[dict[str, float]]] = {}
    for pred in desk.records("preds"):
        found.setdefault(pred["symbol"], []).append(pred)
    assert found.keys() == wanted.keys()
    for symbol, rows in wanted.items():
        assert [pred["ts"] for pred in found[symbol]] == [int(row["ts_ns"]) for row in rows]
        for pred, row in zip(found[symbol], rows, strict=True):
            assert pred["ema"] == pytest.approx(float(row["pred_price"]), rel=1e-12)
            sd = float(row["pred_sd"])
            assert pred["sd"] is None if math.isnan(sd) else pred["sd"] == pytest.approx(sd, abs=1e-9)


def agree_on_decisions(desk: Pipeline, case: str) -> None:
    signals = {(s["ts"], s["symbol"]): s for s in desk.records("signals") if s["reason"] != "END"}
    executions = {(e["ts"], e["symbol"]): e for e in desk.records("executions") if e["reason"] != "END"}
    rows = golden.table(f"evals_{case}")
    assert signals.keys() == {(int(row["boundary_ns"]), row["symbol"]) for row in rows}
    for row in rows:
        at = (int(row["boundary_ns"]), row["symbol"])
        signal, execution = signals[at], executions[at]
        assert (signal["quote_ts"], signal["bid"], signal["ask"]) == (
            int(row["ts_ns"]),
            float(row["bid"]),
            float(row["ask"]),
        )
        assert execution["position_before"] == float(row["position_before"])
        done = execution["side"] if execution["outcome"] == "FILLED" else "NO TRADE"
        assert ("COLD" if signal["reason"] == "WARMUP" else done) == row["action"]
