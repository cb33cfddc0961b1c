"""Tasks by workers, failures, resumption, outputs, and the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from agents.backtest import task as task_module
from agents.backtest.charts import Chosen, busiest
from agents.backtest.collect import Collector, Outputs
from agents.backtest.controls import ControlLine, same_for_all
from agents.backtest.errors import Interrupted, TasksFailed
from agents.backtest.options import full_setting, parse_sweep, swept_settings
from agents.backtest.queue import Progress
from agents.backtest.report import Sweep, write_report
from agents.backtest.running import forget, run
from agents.backtest.statistics import Drawdown, sharpe
from agents.backtest.task import Plan, Task, tasks_of
from agents.cli import app
from agents.strategy.settings import Settings
from agents.stream.errors import BadConfiguration
from schemas.records import Control, State
from schemas.times import NS
from tests.backtest import market
from tests.backtest.helpers import collect, plan_of, trades_bytes, write_quotes

CONTROLS = same_for_all(market.SYMBOLS, Control(max_position_dollars=8_000))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_quotes(tmp_path / "data", market.quotes())
    return tmp_path / "data"


def planned(data: Path, work: Path, *settings: Settings, carry: bool = True) -> Plan:
    return plan_of(data, work, CONTROLS, *settings, carry=carry)


def test_finished_tasks_are_kept_and_another_plan_does_not_use_them(tmp_path: Path, data: Path) -> None:
    plan = planned(data, tmp_path / "work")
    run(plan, 1)
    seen: list[Progress] = []
    run(planned(data, tmp_path / "work"), 1, watch=lambda progress: seen.append(progress))
    assert seen[-1].kept == seen[-1].total == len(tasks_of(plan))
    other = planned(data, tmp_path / "work", Settings(band_sd=2.0))
    assert not any(task.done for task in tasks_of(other))


def test_a_failed_task_is_tried_again_and_named(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from agents.backtest import running

    calls: list[str] = []
    real = running.run_task

    def failing(task: object) -> str:
        calls.append(task.name)
        if task.name.startswith("2013-11-29") or len(calls) == 1:
            raise OSError("the disk is on strike")
        return real(task)

    monkeypatch.setattr(running, "run_task", failing)
    plan = planned(data, tmp_path / "work")
    with pytest.raises(TasksFailed, match=re.escape("2013-11-29 block 0: OSError: the disk is on strike")) as error:
        run(plan, 1)
    assert error.value.exit_status == 1
    assert calls.count("2013-11-27 block 0") == 2
    assert calls.count("2013-11-29 block 0") == 3
    assert "2013-11-27 block 0 failed" in caplog.text
    monkeypatch.setattr(running, "run_task", real)
    run(plan, 1)
    untouched = planned(data, tmp_path / "other")
    run(untouched, 1)
    assert trades_bytes(plan, tmp_path / "a.parquet") == trades_bytes(untouched, tmp_path / "b.parquet")


def test_outputs_agree_with_each_other(tmp_path: Path, data: Path) -> None:
    plan = planned(data, tmp_path / "work", Settings(band_sd=0.5, fee_bps=0.1))
    run(plan, 1)
    (summary,) = collect(plan, Outputs(folder=tmp_path / "out"))
    tables = {path.stem: pq.read_table(path).to_pylist() for path in (tmp_path / "out").glob("*.parquet")}
    assert set(tables) == {
        *("trades", "executions", "days", "dates", "symbols", "positions", "pnl", "predictions", "totals")
    }
    totals = summary.totals()
    assert totals["trades"] == len(tables["trades"]) > 100
    assert totals["net_change"] == pytest.approx(sum(row["net"] for row in tables["pnl"]))
    assert totals["fees_change"] == pytest.approx(sum(row["fee"] for row in tables["trades"]))
    assert totals["turnover"] == pytest.approx(sum(row["shares"] * row["price"] for row in tables["trades"]))
    assert sum(row["net_change"] for row in tables["dates"]) == pytest.approx(totals["net_change"])
    assert summary.equity[-1] == pytest.approx(totals["net_change"])
    # The oracle of the ledger: R + U is what the fills have gained up to the last mark.
    marks = {row["symbol"]: row["mark"] for row in tables["pnl"]}
    gained = sum(
        (1 if t["side"] == "BUY" else -1) * t["shares"] * (marks[t["symbol"]] - t["price"]) for t in tables["trades"]
    )
    assert gained == pytest.approx(totals["net_change"] + totals["fees_change"], abs=1e-6)


def test_the_report_is_one_file_that_loads_nothing(tmp_path: Path, data: Path) -> None:
    sweep = Sweep({"band_sd": [0.5, 1.0], "tau_seconds": [30.0, 60.0]})
    plan = planned(data, tmp_path / "work", *swept_settings(Settings(), sweep))
    run(plan, 1)
    write_report(tmp_path / "r.html", plan, sweep, collect(plan, Outputs()), [])
    page = (tmp_path / "r.html").read_text()
    assert "/*DATA*/" not in page and "/*UPLOT_JS*/" not in page
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page)
    assert not re.search(r"fetch\(|XMLHttpRequest|@import|url\(", page)
    shown = json.loads(re.search(r'type="application/json">(.*?)</script>', page, re.S)[1])
    assert len(shown["results"]) == 4 and shown["charts"]
    assert shown["results"][0]["totals"]["sharpe"] is None  # two days are too few
    with pytest.raises(BadConfiguration, match="no quotes of this symbol"):
        write_report(tmp_path / "r.html", plan, sweep, collect(plan, Outputs()), [Chosen.parse("ZZZ@2013-11-27")])


def test_a_symbol_that_is_closed_on_a_date_without_its_quotes_has_no_chart_of_it(tmp_path: Path) -> None:
    night = market.THANKSGIVING_EVE + 9 * 3_600 * NS
    write_quotes(tmp_path / "data", [row for row in market.quotes() if row["ts"] < night or row["symbol"] != "AAA"])
    closing = Control(max_position_dollars=8_000, state=State.CLOSING, effective_from=night)
    controls = [*CONTROLS, ControlLine(key="AAA", version=1, control=closing)]
    plan = plan_of(tmp_path / "data", tmp_path / "work", controls)
    run(plan, 1)
    summaries = collect(plan, Outputs())
    assert ("AAA", "2013-11-29") in summaries[0].trades_by_day
    write_report(tmp_path / "r.html", plan, Sweep(), summaries, [])
    charted = busiest(summaries[0], plan.catalog, 9)
    assert Chosen.parse("AAA@2013-11-27") in charted and Chosen.parse("BBB@2013-11-29") in charted
    assert len(charted) == len(summaries[0].trades_by_day) - 1


def test_sharpe_needs_twenty_days() -> None:
    assert sharpe([1.0] * 10 + [2.0] * 9) is None
    assert sharpe([1.0] * 10 + [2.0] * 10) == pytest.approx(1.5 / 0.512989176 * 252**0.5)
    assert sharpe([1.0] * 20) is None


def test_drawdown_goes_on_over_pieces() -> None:
    drawdown = Drawdown()
    drawdown.take(np.array([1.0, 5.0]))
    drawdown.take(np.array([4.0, -2.0, 3.0]))
    assert drawdown.largest == -7.0


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("tau=60s", "tau_seconds=60"),
        ("tau=2m", "tau_seconds=120"),
        ("band=1.5", "band_sd=1.5"),
        ("marks=off", "marks=off"),
    ],
)
def test_short_names_and_units_of_settings(text: str, full: str) -> None:
    assert full_setting(text) == full


def test_a_sweep_takes_every_combination() -> None:
    settings = swept_settings(Settings(), parse_sweep(["tau=30s,60s", "band=0.5,1,2"]))
    assert [(one.tau_seconds, one.band_sd) for one in settings] == [
        (tau, band) for tau in (30.0, 60.0) for band in (0.5, 1.0, 2.0)
    ]
    with pytest.raises(BadConfiguration, match="given twice"):
        parse_sweep(["band=1,1.0"])


def command(data: Path, home: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "agents.cli", "backtest", str(data), "--work", str(home), *more]


def test_the_command_lists_runs_and_resumes(tmp_path: Path, data: Path) -> None:
    environment = {**os.environ, "MM_HOME": str(tmp_path / "home")}
    trades = tmp_path / "trades.parquet"

    def call(*more: str) -> subprocess.CompletedProcess[str]:
        arguments = command(data, tmp_path / "work", "--workers", "1", *more)
        return subprocess.run(arguments, capture_output=True, text=True, timeout=120, env=environment)

    listed = call("--dry-run")
    assert listed.returncode == 0 and "2 tasks (2 dates, 1 block of symbols)" in listed.stdout
    assert not (tmp_path / "work").exists()
    done = call("--from", "2013-11-27", "--to", "2013-11-29", "--trades", str(trades), "--set", "band=0.5")
    assert done.returncode == 0, done.stderr
    assert pq.read_table(trades).num_rows > 100
    again = call("--from", "2013-11-27", "--to", "2013-11-29", "--trades", str(trades), "--set", "band=0.5")
    assert "2 kept from before" in again.stderr
    assert call("--set", "bandwidth=1").returncode == 2
    few = call("--lot", "5", "--trades", str(trades), "--set", "band=0.5")
    assert few.returncode == 0 and pq.read_table(trades).num_rows > 100
    assert call("--from", "2020-01-01").returncode == 2


def test_ctrl_c_says_what_is_done_and_the_same_command_goes_on(tmp_path: Path, data: Path) -> None:
    # So many settings that it cannot be done before the signal comes.
    bands = "band=" + ",".join(f"{n / 100}" for n in range(1, 41))
    arguments = command(data, tmp_path / "work", "--workers", "1", "--sweep", bands)
    running = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    assert "0 of 2 tasks" in running.stderr.readline()
    running.send_signal(signal.SIGINT)
    said = running.stderr.read()
    assert running.wait(60) == 130, said
    assert re.search(r"stopped: \d of 2 tasks are done and kept; the same command goes on from there", said)
    assert subprocess.run(arguments, timeout=120, capture_output=True).returncode == 0


def test_a_ctrl_c_that_a_task_swallows_stops_all_the_same(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agents.backtest import running

    real, calls = running.run_task, []

    def deaf(task: Task) -> str:
        calls.append(task.name)
        if len(calls) == 1:
            # As pandas does while it is imported.
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                raise AttributeError("partially initialized module") from None
        return real(task)

    monkeypatch.setattr(running, "run_task", deaf)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        result = CliRunner().invoke(app, command(data, tmp_path / "work", "--workers", "1")[3:])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert result.exit_code == 130
    assert "stopped: 1 of 2 tasks are done and kept" in result.output
    assert calls == ["2013-11-27 block 0"] * 2


def test_more_dates_go_on_where_fewer_ended(tmp_path: Path, data: Path) -> None:
    # Of three dates the second is not the last any more, so it is done again; the first is kept.
    first = [row for row in market.quotes() if row["ts"] < market.BLACK_FRIDAY - 3_600 * NS]
    moved = [row | {"ts": row["ts"] + 7 * 86_400 * NS} for row in first]
    run(planned(data, tmp_path / "work"), 1)
    write_quotes(data, moved)
    longer = planned(data, tmp_path / "work")
    assert [task.done for task in tasks_of(longer)] == [True, False, False]
    run(longer, 1)
    alone = planned(data, tmp_path / "alone")
    run(alone, 1)
    assert trades_bytes(longer, tmp_path / "a.parquet") == trades_bytes(alone, tmp_path / "b.parquet")


@pytest.mark.parametrize("changed", ["file", "control", "program"])
def test_what_depends_on_something_that_has_changed_is_done_anew(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    run(planned(data, tmp_path / "work"), 1)
    if changed == "file":
        (second,) = data.glob("date=2013-11-29/symbol=AAA/*.parquet")
        os.utime(second, ns=(1, 1))
    elif changed == "program":
        monkeypatch.setattr(task_module, "_code", lambda: "another version")
    controls = [*CONTROLS, ControlLine(key="AAA", control=None, version=9)] if changed == "control" else CONTROLS
    done = [task.done for task in tasks_of(plan_of(data, tmp_path / "work", controls))]
    assert done == [changed == "file", False]


def test_dates_are_collected_as_they_are_done_and_outputs_appear_at_the_end(tmp_path: Path, data: Path) -> None:
    plan, outputs = planned(data, tmp_path / "work"), Outputs(tmp_path / "out", tmp_path / "trades.parquet")
    left: list[int] = []
    with Collector(plan, outputs) as collector:

        def watch(progress: Progress) -> None:
            collector.advance()
            left.append(len(collector.left))
            assert not (tmp_path / "trades.parquet").exists()

        run(plan, 1, watch=watch)
        summaries = collector.finish()
    assert left == [2, 1, 0]
    at_once = collect(plan, Outputs(tmp_path / "again"))
    assert [(one.totals(), one.equity) for one in summaries] == [(one.totals(), one.equity) for one in at_once]
    for file in ("trades", "days", "pnl", "totals"):
        assert (tmp_path / "out" / f"{file}.parquet").read_bytes() == (
            tmp_path / "again" / f"{file}.parquet"
        ).read_bytes()
    assert (tmp_path / "trades.parquet").read_bytes() == (tmp_path / "out" / "trades.parquet").read_bytes()


def test_a_run_that_is_stopped_leaves_no_half_of_an_output(tmp_path: Path, data: Path) -> None:
    plan, outputs = planned(data, tmp_path / "work"), Outputs(tmp_path / "out", tmp_path / "trades.parquet")
    with pytest.raises(Interrupted), Collector(plan, outputs) as collector:

        def watch(progress: Progress) -> None:
            collector.advance()
            if progress.done == 1:
                raise KeyboardInterrupt

        run(plan, 1, watch=watch)
    assert [path.name for path in tmp_path.rglob("*.part")] == []
    assert not (tmp_path / "trades.parquet").exists()


def test_outputs_that_cannot_be_written_are_told_before_the_work(tmp_path: Path, data: Path) -> None:
    (tmp_path / "file").touch()
    plan = planned(data, tmp_path / "work")
    outputs = Outputs(tmp_path / "out", tmp_path / "file" / "trades.parquet")
    with pytest.raises(BadConfiguration, match=r"cannot write .*/file/trades\.parquet"), Collector(plan, outputs):
        pass
    assert [path.name for path in tmp_path.rglob("*.part")] == []


def test_fresh_does_all_of_it_again(tmp_path: Path, data: Path) -> None:
    plan = planned(data, tmp_path / "work")
    run(plan, 1)
    forget(plan)
    assert not any(task.done for task in tasks_of(plan))


def test_a_deletion_that_is_interrupted_leaves_whole_tasks_or_none(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(data, tmp_path / "work")
    run(plan, 1)
    wanted = trades_bytes(plan, tmp_path / "a.parquet")

    def interrupted(path: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(task_module.shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            forget(plan)
    assert [task.folder.exists() for task in tasks_of(plan)] == [False, True]
    run(plan, 1)
    assert trades_bytes(plan, tmp_path / "b.parquet") == wanted


@pytest.mark.parametrize("gone", ["done.json", "trades.arrow", "state.npz", "equity.npy"])
def test_a_task_that_lacks_some_of_its_files_is_done_again(tmp_path: Path, data: Path, gone: str) -> None:
    plan = planned(data, tmp_path / "work")
    run(plan, 1)
    wanted = trades_bytes(plan, tmp_path / "a.parquet")
    for task in tasks_of(plan):
        (task.folder / gone).unlink()
    assert not any(task.done for task in tasks_of(plan))
    run(plan, 1)
    assert trades_bytes(plan, tmp_path / "b.parquet") == wanted


def test_a_file_that_two_options_name_is_written_once(tmp_path: Path, data: Path) -> None:
    plan = planned(data, tmp_path / "work")
    run(plan, 1)
    (tmp_path / "out").mkdir()
    collect(plan, Outputs(tmp_path / "out", tmp_path / "out" / ".." / "out" / "trades.parquet"))
    assert (tmp_path / "out" / "trades.parquet").read_bytes() == trades_bytes(plan, tmp_path / "alone.parquet")
    assert [path.name for path in tmp_path.rglob("*.part")] == []
    with pytest.raises(BadConfiguration, match=r"one\.parquet would hold two tables; give each a file of its own"):
        collect(plan, Outputs(trades=tmp_path / "one.parquet", executions=tmp_path / "one.parquet"))


def test_a_date_without_signals_is_a_day_without_a_result(tmp_path: Path, data: Path) -> None:
    later = market.BLACK_FRIDAY - 3_600 * NS
    controls = [msgspec.structs.replace(line, known_from=later) for line in CONTROLS]
    for carry in (True, False):
        plan = plan_of(data, tmp_path / "work", controls, carry=carry)
        run(plan, 1)
        (summary,) = collect(plan, Outputs(tmp_path / "out"))
        first, second = pq.read_table(tmp_path / "out" / "dates.parquet").to_pylist()
        assert [first["date"], second["date"]] == ["2013-11-27", "2013-11-29"] == list(summary.dates)
        assert (first["signals"], first["net_change"]) == (0, 0.0) and second["signals"] > 0
        assert summary.totals()["best_day"] == max(0.0, second["net_change"])


def test_positions_of_dates_that_begin_anew_are_those_of_each_symbols_last_date(tmp_path: Path) -> None:
    later = market.BLACK_FRIDAY - 3_600 * NS
    quotes = [row for row in market.quotes() if row["ts"] < later or row["symbol"] != "BBB"]
    write_quotes(tmp_path / "data", quotes)
    plan = planned(tmp_path / "data", tmp_path / "work", Settings(), Settings(band_sd=0.5), carry=False)
    run(plan, 1)
    collect(plan, Outputs(tmp_path / "out"))
    days = pq.read_table(tmp_path / "out" / "days.parquet").to_pylist()
    for name in ("positions", "pnl"):
        ends = pq.read_table(tmp_path / "out" / f"{name}.parquet").to_pylist()
        assert [(row["setting"], row["symbol"], row["date"].day) for row in ends] == [
            (setting, symbol, 27 if symbol == "BBB" else 29) for setting in (0, 1) for symbol in market.SYMBOLS
        ]
        for row in ends:
            own = [day for day in days if all(day[key] == row[key] for key in ("setting", "symbol", "date"))]
            assert [{key: day[key] for key in row} for day in own] == [row]


@pytest.mark.parametrize(("fill", "capped"), [([], True), (["--fill", "touch"], False), (["--fill", "size"], True)])
def test_a_fill_that_is_asked_for_wins_over_the_setting(
    tmp_path: Path, data: Path, fill: list[str], capped: bool
) -> None:
    arguments = command(data, tmp_path / "work", "--workers", "1", "--trades", str(tmp_path / "t.parquet"), *fill)
    subprocess.run(arguments, check=True, capture_output=True, env={**os.environ, "MM_CAP_BY_SIZE": "true"})
    hashes = set(pq.read_table(tmp_path / "t.parquet")["settings"].to_pylist())
    assert hashes == {Settings(cap_by_size=capped).hash}


def test_a_chart_that_cannot_be_made_is_refused_before_the_work(tmp_path: Path, data: Path) -> None:
    arguments = command(data, tmp_path / "work", "--workers", "1", "--report", str(tmp_path / "r.html"))
    refused = subprocess.run([*arguments, "--chart", "ZZZ@2013-11-27"], capture_output=True, text=True)
    assert refused.returncode == 2 and "no quotes of this symbol and date" in refused.stderr
    backwards = subprocess.run(
        [*arguments, "--from", "2013-11-29", "--to", "2013-11-27"], capture_output=True, text=True
    )
    assert backwards.returncode == 2 and "--from 2013-11-29 is after --to 2013-11-27" in backwards.stderr
    assert not (tmp_path / "work").exists()
