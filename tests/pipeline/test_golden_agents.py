"""The agents with the original's rules against what Deephaven 42.7 computed (tests/strategy/golden/README.md)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents.strategy.settings import Marks, Settings
from tests.pipeline.offline import Pipeline, Raw, clock_json, quote_json
from tests.strategy.test_reference_golden import (
    CROSSED_ROWS,
    FILES,
    QUOTE_FIELDS,
    UNUSABLE_ROWS,
    agrees,
    decisions,
    fills,
    golden_fills,
    rows,
)

BATCH = 5_000


class Published:
    """What the agents published, in the form in which the reference shows its own."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.preds = [_numbers(pred) for pred in pipeline.published("preds")]
        self.signals = [_numbers(signal) for signal in pipeline.published("signals")]
        self.executions = pipeline.published("executions")
        self.trades = pipeline.published("trades")
        self.positions = pipeline.latest("positions")
        self.pnl = pipeline.latest("pnl")
        self.counters = pipeline.counters()


def _numbers(record: dict[str, Any]) -> dict[str, Any]:
    unknown = {n: float("nan") for n in ("sd", "buy_below", "sell_above") if record[n] is None}
    return {**record, **unknown}


def replay(name: str, end: bool) -> Published:
    """The whole file in batches; with a clock at the largest usable ts if asked to end."""
    pipeline = Pipeline(msgspec.structs.replace(Settings.original(), marks=Marks.EVERY))
    for control in rows("controls"):
        limit = float(control["max_position_dollars"])
        pipeline.controls.write(control["symbol"], msgspec.json.encode({"max_position_dollars": limit}))
    quotes = [_raw(row) for row in rows(f"quotes_{name}")]
    for first in range(0, len(quotes), BATCH):
        pipeline.process(quotes[first : first + BATCH])
        pipeline.commit()
    if end:
        pipeline.process([Raw(clock_json(max(int(row["ts_ns"]) for row in rows(f"preds_{name}")), end=True))])
        pipeline.commit()
    return Published(pipeline)


def _raw(row: dict[str, str]) -> Raw:
    return Raw(quote_json(row["symbol"], int(row["ts_ns"]), *(float(row[field]) for field in QUOTE_FIELDS)))


@pytest.fixture(scope="module", params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def published(name: str) -> Published:
    return replay(name, end=True)


def test_unusable_and_crossed_rows_are_counted(name: str, published: Published) -> None:
    used = len(rows(f"preds_{name}"))
    assert published.counters["used"] == used
    assert published.counters["bad_price"] + published.counters["bad_size"] == UNUSABLE_ROWS[name]
    assert published.counters["crossed"] == CROSSED_ROWS[name]


def test_predictions_agree_on_every_quote(name: str, published: Published) -> None:
    golden = rows(f"preds_{name}")
    assert len(published.preds) == len(golden)
    for pred, row in zip(published.preds, golden, strict=True):
        assert (pred["ts"], pred["symbol"]) == (int(row["ts_ns"]), row["symbol"])
        assert agrees(pred["ema"], row["pred_price"], 1e-12)
        assert agrees(pred["sd"], row["pred_sd"], 1e-9)
        assert agrees(pred["buy_below"], row["pred_buy"], 1e-12)
        assert agrees(pred["sell_above"], row["pred_sell"], 1e-12)


def test_every_decision_agrees(name: str, published: Published) -> None:
    golden = rows(f"evals_{name}")
    ours: list[tuple[Any, ...]] = decisions(published)  # type: ignore[arg-type]
    assert len(ours) == len(golden)
    for row, expected in zip(ours, golden, strict=True):
        ts, quote_ts, symbol, bid, ask, mid, buy_below, sell_above, position, what = row
        assert (ts, quote_ts) == (int(expected["boundary_ns"]), int(expected["ts_ns"]))
        assert (symbol, what, position) == (expected["symbol"], expected["action"], float(expected["position_before"]))
        assert (bid, ask, mid) == tuple(float(expected[field]) for field in ("bid", "ask", "mid"))
        assert agrees(buy_below, expected["pred_buy"], 1e-12)
        assert agrees(sell_above, expected["pred_sell"], 1e-12)


def test_trades_are_identical(name: str, published: Published) -> None:
    assert fills(published) == golden_fills(f"trades_{name}")  # type: ignore[arg-type]


def test_trades_without_a_final_clock_are_those_the_own_quotes_fire(name: str) -> None:
    assert fills(replay(name, end=False)) == golden_fills(f"trades_{name}_perkey")  # type: ignore[arg-type]


def test_profit_agrees_at_the_last_mid(name: str, published: Published) -> None:
    for row in rows(f"pnl_{name}"):
        pnl = published.pnl[row["symbol"]]
        assert pnl["net"] == pytest.approx(float(row["pnl_correct_sign"]), abs=1e-6)
        assert (pnl["shares"], pnl["mark"]) == (float(row["position"]), float(row["mid_last"]))
        assert published.positions[row["symbol"]]["trades"] == int(row["trades"])
