"""The parts of a run, small, on a real Kafka: their tables hold every figure they promise."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from agents.stream.config import KafkaConfig
from benchmarks import consumption
from benchmarks.backtest import backtest
from benchmarks.idle import idle
from benchmarks.latency import AGENTS, Paced
from benchmarks.memory import memory
from benchmarks.restore import restore
from benchmarks.run import PARTS
from benchmarks.setting import Setting
from tests.kafka import Kafka


@pytest.fixture
def setting(kafka: Kafka, prefix: str, tmp_path: Path) -> Setting:
    class Own(Setting):
        def config(self, name: str) -> KafkaConfig:
            plain = super().config(name)
            return KafkaConfig(plain.bootstrap, prefix + plain.prefix)

    return Own(kafka.bootstrap, tmp_path, quotes=2_000, repeats=1, seconds=1.0, minutes=0.1, note=print)


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-P", "-m", "agents.cli", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_unknown_part_is_refused_with_the_names_of_all() -> None:
    result = bench("--only", "json,speed")
    assert result.returncode == 2
    assert "no part is named speed" in result.stderr
    for part in PARTS:
        assert part in result.stderr


def test_a_part_writes_markdown_and_json(tmp_path: Path) -> None:
    files = tmp_path / "report.json", tmp_path / "report.md"
    result = bench(
        *("--only", "kernel", "--quotes", "2000", "--repeats", "2", f"--json={files[0]}", f"--markdown={files[1]}")
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(files[0].read_text())
    assert report["machine"]["cores"] >= 1
    [table] = report["tables"]
    assert [len(runs) for row in table["rows"] for runs in row["figures"].values()] == [2] * 6
    assert "polars" in files[1].read_text()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_with_its_broker_and_its_files(tmp_path: Path, ending: signal.Signals) -> None:
    command = [sys.executable, "-P", "-m", "agents.cli", "bench", "--only", "idle"]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.DEVNULL) as process:
        while not (started := list(tmp_path.glob("mm-bench-*/broker/broker.json"))):
            assert process.poll() is None
            time.sleep(0.05)
        broker = json.loads(started[0].read_text())["pid"]
        process.send_signal(ending)
        assert process.wait(60) == 130
    assert not psutil.pid_exists(broker)
    assert list(tmp_path.iterdir()) == []


def test_cost_is_measured_for_each_number_of_symbols(setting: Setting) -> None:
    [table] = consumption.symbols(setting, counts=(5, 50), rate=4.0)
    assert [row.name.split(" ")[0] for row in table.rows] == ["5", "50"]


def test_every_peer_has_its_place_in_a_table_or_is_said_to_be_left_out(setting: Setting) -> None:
    setting.quotes = 50_000  # of which Faust gets a fiftieth
    fast, quix, faust = consumption.peers(setting)
    assert "signals agent, marks off" in [row.name for row in fast.rows]
    if not any("left out" in remark for remark in fast.remarks):
        assert [row.name for row in fast.rows if row.name.startswith("Kafka Streams")] != []
    assert [row.name.split(" ")[0] for row in (*quix.rows, *faust.rows)] == ["Quix", "Faust"]


def test_frames_are_measured_with_their_limits(setting: Setting) -> None:
    tables = list(consumption.frames(setting))
    for rate, table in zip((20, 100), tables, strict=True):
        assert f"{rate} quotes a symbol and second" in table.conditions
        names = [row.name for row in table.rows]
        assert any("librdkafka" in name for name in names)
        assert "signals agent, marks each second" in names


def test_backtests_are_measured_by_processes_and_dates(setting: Setting) -> None:
    [table] = backtest(setting, dates=(2, 3, 4))
    by_dates = [f"{processes}, {dates} dates" for processes in ("1 process", "2 processes") for dates in (2, 3, 4)]
    assert [row.name for row in table.rows] == [
        *by_dates,
        *("1 process, 3 dates, without markouts", "1 process, 3 dates, four settings"),
    ]
    assert all(len(runs) == setting.repeats for row in table.rows for runs in row.figures.values())
    assert [remark for remark in table.remarks if remark.startswith("4 dates: two processes are ")] != []


def test_idle_agents_are_measured_each(setting: Setting) -> None:
    [table] = idle(setting)
    assert [row.name for row in table.rows] == ["signals agent", "execution agent", "portfolio agent"]


def test_latency_waits_for_every_decision_and_every_trade(setting: Setting) -> None:
    found = Paced(setting.config("latency"), rate=500.0, symbols=5).run(AGENTS, seconds=3.0, warm_up=5.0)
    assert found["signal"]["how many"] >= 5 * 2
    assert 0 < found["trade"]["how many"] <= found["signal"]["how many"]
    assert 0 < found["signal"]["p50 ms"] <= found["signal"]["p99.9 ms"] <= found["signal"]["worst ms"]


def test_memory_is_followed_under_a_flood_of_quotes(setting: Setting) -> None:
    [table] = memory(setting, symbols=50)
    [row] = table.rows
    assert row.figures["thousand quotes/s"][0] > 0
    assert row.figures["most"][0] >= row.figures["of the last fifth"][0] > 10


def test_a_killed_agent_comes_back_in_both_ways(setting: Setting) -> None:
    [table] = restore(setting, symbols=20, roles=["portfolio"])
    assert [row.name for row in table.rows] == ["portfolio, same name", "portfolio, the other process takes over"]
    assert all(len(row.figures["s"]) == setting.repeats for row in table.rows)
