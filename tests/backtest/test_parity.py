"""The same quotes through the agents on Kafka and through the backtest give the same records, to the bit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agents.backtest.controls import ControlLine
from agents.backtest.variant import Options
from agents.strategy.settings import Settings
from schemas.records import Control, Execution, StarControl, State, Trade
from schemas.times import NS
from tests.backtest import market
from tests.backtest.helpers import as_bytes, plan_of, records, run_tasks, write_quotes
from tests.integration.pipeline import Pipeline
from tests.kafka import Kafka

MONEY = ("shares", "average_cost", "realised", "fees", "unrealised", "net", "mark", "mark_ts", "ts")
POSITION = ("shares", "average_cost", "cash", "realised", "fees", "trades", "state", "control_version", "ts")


def live(
    kafka: Kafka, prefix: str, rows: Sequence[dict[str, Any]], controls: Sequence[ControlLine], settings: Settings
) -> dict[str, Any]:
    """What the agents publish for the rows, with a clock each minute and one at the end."""
    pipeline = Pipeline(kafka.bootstrap, prefix, settings=settings)
    pipeline.create_topics()
    for line in controls:
        pipeline.control(line.key, line.control)
    pipeline.quotes(with_clocks(rows))
    pipeline.start_all()
    try:
        pipeline.wait_until_drained()
        executions = pipeline.records("executions")
        return {
            "trades": pipeline.trades(),
            "executions": sorted(executions, key=lambda row: (row["ts"], row["symbol"])),
            "pnl": pipeline.pnl(),
            "positions": pipeline.table("positions"),
        }
    finally:
        pipeline.stop()


def with_clocks(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    minute = rows[0]["ts"] // (60 * NS)
    for row in rows:
        while row["ts"] // (60 * NS) > minute:
            minute += 1
            yield {"clock": minute * 60 * NS, "feed": "test"}
        yield row
    yield {"clock": max(row["ts"] for row in rows), "feed": "test", "end": True}


def backtest(
    folder: Path, rows: Sequence[dict[str, Any]], controls: Sequence[ControlLine], settings: Settings
) -> dict[str, Any]:
    """The same of the backtest."""
    write_quotes(folder / "data", rows)
    options = Options(all_executions=True)
    tables = run_tasks(plan_of(folder / "data", folder / "work", controls, settings, options=options))
    last = {row["symbol"]: row for row in tables["days"].to_pylist()}
    return {
        "trades": records(tables["trades"], Trade),
        "executions": records(tables["executions"], Execution),
        "last": last,
    }


def assert_equal(agents: dict[str, Any], files: dict[str, Any]) -> None:
    assert as_bytes(files["trades"]) == as_bytes(agents["trades"])
    assert as_bytes(files["executions"]) == as_bytes(agents["executions"])
    assert files["last"].keys() == agents["pnl"].keys() == agents["positions"].keys()
    for symbol, row in files["last"].items():
        assert {name: row[name] for name in MONEY} == {name: agents["pnl"][symbol][name] for name in MONEY}
        assert {name: row[name] for name in POSITION} == {name: agents["positions"][symbol][name] for name in POSITION}


SETTINGS = {
    "session": Settings(session="XNYS", fee_per_share=0.0005, band_sd=0.5),
    "without a session": Settings(tau_seconds=30, band_sd=0.5, fee_bps=0.1, cap_by_size=True),
    "the original": Settings.original(),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_trades_executions_and_pnl_are_those_of_the_agents(
    kafka: Kafka, prefix: str, tmp_path: Path, name: str
) -> None:
    rows, controls = market.quotes(), market.controls()
    agents = live(kafka, prefix, rows, controls, SETTINGS[name])
    assert_equal(agents, backtest(tmp_path, rows, controls, SETTINGS[name]))
    reasons = {trade["reason"] for trade in agents["trades"]}
    states = {execution["reason"] for execution in agents["executions"]}
    assert len(agents["trades"]) > 200
    assert {"SIGNAL", "CLOSING"} <= reasons
    assert {"LIMIT", "REDUCING", "HALTED", "END"} <= states
    if SETTINGS[name].session:
        closed = [trade for trade in agents["trades"] if trade["reason"] == "SESSION_CLOSE"]
        early_close = market.BLACK_FRIDAY + round(3.5 * 3600) * NS
        assert "SESSION" in states
        assert any(early_close - 600 * NS <= trade["ts"] < early_close for trade in closed)
        assert all(position["shares"] == 0 for position in agents["positions"].values())


@pytest.mark.skipif("MM_TEST_DATA" not in os.environ, reason="MM_TEST_DATA names no folder of quotes/*.csv.gz")
@pytest.mark.parametrize("date", ["2013-10-07", "2013-10-08", "2013-10-09"])
def test_a_real_day_gives_the_same_trades(kafka: Kafka, prefix: str, tmp_path: Path, date: str) -> None:
    import pyarrow as pa
    import pyarrow.csv

    folder = Path(os.environ["MM_TEST_DATA"]) / "quotes"
    tables = [pyarrow.csv.read_csv(folder / f"{symbol}_{date}.csv.gz") for symbol in ("BAC", "IBM")]
    rows = pa.concat_tables(tables).rename_columns({"ts_ns": "ts"}).sort_by("ts").to_pylist()
    controls = changing(["BAC", "IBM"], rows[0]["ts"] // (86_400 * NS) * 86_400 * NS)
    settings = Settings(session="XNYS")
    agents = live(kafka, prefix, rows, controls, settings)
    assert len(agents["trades"]) > 200
    assert {"CLOSING", "SESSION_CLOSE"} <= {trade["reason"] for trade in agents["trades"]}
    assert {0, 1, 2, 3, 5} <= {row["control_version"] for row in agents["executions"]}
    assert_equal(agents, backtest(tmp_path, rows, controls, settings))


def changing(symbols: Sequence[str], midnight: int) -> list[ControlLine]:
    """Controls that change within the session of a date in October (13:30 to 20:00 UTC)."""
    first, second = symbols
    wide = Control(max_position_dollars=100_000)

    def at(hours: float) -> int:
        return midnight + round(hours * 3600) * NS

    records = [
        (first, wide),
        (second, wide),
        (first, Control(max_position_dollars=20_000, lot_shares=35, effective_from=at(15))),
        (second, Control(max_position_dollars=100_000, state=State.CLOSING, effective_from=at(16.5))),
        ("*", StarControl(state=State.REDUCING, effective_from=at(18))),
        (second, Control(max_position_dollars=50_000, allow_short=False, effective_from=at(17))),
        ("*", StarControl(state=State.ACTIVE, effective_from=at(18.5))),
    ]
    return [ControlLine(key=key, version=version, control=control) for version, (key, control) in enumerate(records)]
