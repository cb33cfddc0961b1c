"""Live quotes from Kafka into files: each usable quote once, whenever the recorder dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from agents import record as module
from agents.backtest.catalog import catalogue, find_files
from agents.backtest.controls import same_for_all
from agents.backtest.reading import read_part
from agents.record import Recorder, RecordSettings, record
from agents.strategy.desk import Desk
from agents.strategy.settings import Settings
from agents.stream.errors import BadConfiguration, InputGap, InstanceTaken
from schemas.columns import Columns
from schemas.partitioning import partition_of
from schemas.records import Control, Trade
from schemas.topics import QUOTES
from tests.backtest import market
from tests.backtest.helpers import PRICES, as_bytes, plan_of, records, run_tasks, write_quotes
from tests.integration.pipeline import Pipeline
from tests.kafka import Kafka

ROWS = market.quotes(seconds_between=20.0)


class Crash(Exception):
    """Stands for a killed process."""


@pytest.fixture
def pipeline(kafka: Kafka, prefix: str) -> Pipeline:
    made = Pipeline(kafka.bootstrap, prefix)
    made.create_topics()
    return made


def until(count: int, recorder: Recorder) -> None:
    for _ in range(600):
        if recorder.done.quotes + recorder.done.skipped + recorder.waiting >= count:
            return
        recorder.take(0.1)
    raise AssertionError(f"{recorder.waiting} quotes after a minute")


def record_all(pipeline: Pipeline, folder: Path, count: int) -> Recorder:
    recorder = Recorder(pipeline.config, RecordSettings(folder), Settings())
    until(count, recorder)
    recorder.flush()
    recorder.close()
    return recorder


def recorded(folder: Path) -> list[dict[str, Any]]:
    """All rows by symbol and time; ties in the order of the files' names, which is that of a backtest."""
    rows = [row for path in sorted(folder.rglob("*.parquet")) for row in pq.ParquetFile(path).read().to_pylist()]
    return sorted(rows, key=lambda row: (row["symbol"], row["ts"]))


def usable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    good = [row for row in rows if min(row[name] for name in PRICES) > 0]
    return sorted(good, key=lambda row: (row["symbol"], row["ts"]))


def test_usable_quotes_are_recorded_by_date_and_symbol(pipeline: Pipeline, tmp_path: Path) -> None:
    late = [ROWS[-1] | {"ts": ROWS[0]["ts"]}]
    pipeline.quotes(ROWS + late)
    recorder = record_all(pipeline, tmp_path, len(ROWS) + 1)
    assert recorded(tmp_path) == usable(ROWS)
    assert recorder.done.skipped == len(ROWS) + 1 - len(usable(ROWS))
    folders = {path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.parquet")}
    assert folders == {f"date={date}/symbol={s}" for date in ("2013-11-27", "2013-11-29") for s in market.SYMBOLS}


def test_symbols_that_differ_in_a_slash_are_kept_apart(kafka: Kafka, prefix: str, tmp_path: Path) -> None:
    together = Pipeline(kafka.bootstrap, prefix, partitions=1)
    together.create_topics()
    rows = [ROWS[0] | {"symbol": symbol, "bid": bid, "ask": 9.0} for symbol, bid in (("BRK/B", 1.0), ("BRK_B", 2.0))]
    together.quotes(rows)
    record_all(together, tmp_path, len(rows))
    assert recorded(tmp_path) == usable(rows)
    assert catalogue(find_files([str(tmp_path)])).symbols == ["BRK/B", "BRK_B"]


def test_a_quote_in_another_symbols_partition_is_recorded_no_more_than_it_is_used(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    row = ROWS[0]
    right = partition_of(row["symbol"], pipeline.partitions)
    values = [orjson.dumps(row | {"bid": float(n), "ask": 9.0}) for n in range(1, 1 + pipeline.partitions)]
    pipeline.publish(QUOTES.name, [(n, row["symbol"].encode(), value) for n, value in enumerate(values)])
    recorder = record_all(pipeline, tmp_path, len(values))
    assert [found["bid"] for found in recorded(tmp_path)] == [right + 1.0]
    assert recorder.done.skipped == len(values) - 1


def test_every_row_is_taken_once_though_some_cannot_be_used(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    real = Desk.advance

    def counted(desk: Desk, columns: Columns, *more: Any) -> Any:
        taken.append(len(columns))
        return real(desk, columns, *more)

    monkeypatch.setattr(Desk, "advance", counted)
    pipeline.quotes(ROWS)
    recorder = record_all(pipeline, tmp_path, len(ROWS))
    assert recorder.done.skipped == len(ROWS) - len(usable(ROWS)) > 0
    assert sum(taken) == len(ROWS)


@pytest.mark.parametrize("crash_at", ["_write_journal", "_reveal", "write_file"])
def test_a_recorder_that_dies_at_a_flush_loses_and_repeats_nothing(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: str
) -> None:
    half = len(ROWS) // 2
    pipeline.quotes(ROWS[:half])
    record_all(pipeline, tmp_path, half)
    pipeline.quotes(ROWS[half:])
    dying = Recorder(pipeline.config, RecordSettings(tmp_path), Settings())
    until(len(ROWS) - half, dying)
    calls: list[int] = []
    real: Callable[..., Any] = getattr(module, crash_at)

    def crash(*arguments: Any) -> None:
        calls.append(1)
        if crash_at != "write_file" or len(calls) == 2:
            raise Crash
        real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(module, crash_at, crash)
        with pytest.raises(Crash):
            dying.flush()
    dying.close()
    already = crash_at == "_reveal"
    record_all(pipeline, tmp_path, 0 if already else len(ROWS) - half)
    assert recorded(tmp_path) == usable(ROWS)
    assert not list(tmp_path.rglob("*.new"))


def test_a_backtest_of_what_was_recorded_trades_as_one_of_the_source(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.quotes(ROWS)
    record_all(pipeline, tmp_path / "recorded", len(ROWS))
    write_quotes(tmp_path / "source", ROWS)
    controls = same_for_all(market.SYMBOLS, Control(max_position_dollars=8_000))
    trades = [
        records(run_tasks(plan_of(tmp_path / name, tmp_path / f"work-{name}", controls))["trades"], Trade)
        for name in ("recorded", "source")
    ]
    assert len(trades[1]) > 50
    assert as_bytes(trades[0]) == as_bytes(trades[1])


def test_ties_that_lie_in_two_files_keep_their_order(pipeline: Pipeline, tmp_path: Path) -> None:
    moment = market.THANKSGIVING_EVE
    rows = [ROWS[0] | {"ts": moment, "bid": 1.0 + n, "ask": 2.0 + n} for n in range(12)]
    for part in (rows[:2], rows[2:11], rows[11:]):  # from offset 0, 2 and 11: as text 11 comes before 2
        pipeline.quotes(part)
        record_all(pipeline, tmp_path, len(part))
    files = find_files([str(tmp_path)])
    assert len(files) == 3
    bids = [bid for columns in read_part(files, {rows[0]["symbol"]: 0}) for bid in columns.bid.tolist()]
    assert bids == [row["bid"] for row in rows]


def test_one_process_a_folder(pipeline: Pipeline, tmp_path: Path) -> None:
    def second() -> bool:
        with pytest.raises(InstanceTaken, match="another process records"):
            record(pipeline.config, RecordSettings(tmp_path), Settings(), lambda: True)
        return True

    record(pipeline.config, RecordSettings(tmp_path), Settings(), second)


def test_another_topic_or_zone_is_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.quotes(ROWS[:100])
    record_all(pipeline, tmp_path, 100)
    with pytest.raises(BadConfiguration, match="give another --to"):
        Recorder(pipeline.config, RecordSettings(tmp_path, zone="America/New_York"), Settings())
    journal = tmp_path / ".recorded" / "journal.json"
    journal.write_text(journal.read_text().replace('"offset":', '"offset":9'))
    with pytest.raises(InputGap, match="made anew"):
        Recorder(pipeline.config, RecordSettings(tmp_path), Settings())


def test_a_killed_recorder_loses_and_repeats_nothing(pipeline: Pipeline, tmp_path: Path) -> None:
    """The real command, killed in the middle of its work three times, each time at another place."""
    command = [sys.executable, "-m", "agents.cli", "record", "--to", str(tmp_path / "data"), "--every", "1"]
    command += ["--bootstrap", pipeline.bootstrap, "--prefix", pipeline.prefix]
    third = len(ROWS) // 3
    for part in (ROWS[:third], ROWS[third : 2 * third], ROWS[2 * third :]):
        running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        pipeline.quotes(part[: len(part) // 2])
        assert running.stderr is not None
        assert "quotes in" in running.stderr.readline()
        pipeline.quotes(part[len(part) // 2 :])
        running.kill()
        assert running.wait(60) == -signal.SIGKILL
    last = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wanted = usable(ROWS)
    while len(recorded(tmp_path / "data")) < len(wanted):
        assert last.poll() is None
        time.sleep(0.2)
    last.terminate()
    assert last.wait(60) == 0
    assert recorded(tmp_path / "data") == wanted
