"""Replay onto a real broker: what arrives, what is refused, how it stops."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agents.feeds import replay
from agents.feeds.replay import ReplaySettings
from agents.feeds.session import Progress
from agents.feeds.wire import Wire
from agents.stream import topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import BadConfiguration, MissingTopics, NoBroker
from schemas.partitioning import partition_of
from schemas.records import Clock
from schemas.times import NS
from tests.feeds.rows import T0, row, write_csv
from tests.feeds.topic import PARTITIONS, clocks, held, quotes
from tests.kafka import Kafka

ROWS = [row(i % 8, T0 + i * NS // 100, 10 + i / 7) for i in range(700)]
LAST = ROWS[-1].ts


@pytest.mark.parametrize("wire", list(Wire))
def test_every_row_and_clock_arrives(tmp_path: Path, config: KafkaConfig, wire: Wire) -> None:
    files = [write_csv(tmp_path / f"{i}.csv.gz", ROWS[i::3]) for i in range(3)]
    summary = replay.run(config, files, ReplaySettings(wire=wire, feed="files"))

    assert (summary.quotes, summary.first_ts, summary.latest_ts, summary.ended) == (700, T0, LAST, True)
    for partition, records in held(config).items():
        expected = [each for each in ROWS if partition_of(each.symbol, PARTITIONS) == partition]
        assert [each for each in records if not isinstance(each, Clock)] == expected
    expected_clocks = [Clock(clock=T0 + i * NS, feed="files") for i in range(7)]
    assert clocks(config) == [[*expected_clocks, Clock(clock=LAST, feed="files", end=True)]] * PARTITIONS


def test_at_a_speed_the_same_arrives_and_takes_its_time(tmp_path: Path, config: KafkaConfig) -> None:
    summary = replay.run(config, [write_csv(tmp_path / "a.csv", ROWS)], ReplaySettings(speed=20))
    assert summary.seconds >= (LAST - T0) / NS / 20
    assert quotes(config) == ROWS
    assert all(len(each) == 8 for each in clocks(config))


def test_a_rerun_on_used_topics_is_refused(tmp_path: Path, config: KafkaConfig) -> None:
    path = write_csv(tmp_path / "a.csv", ROWS)
    replay.run(config, [path], ReplaySettings(wire=Wire.FRAMES))
    with pytest.raises(BadConfiguration, match=r"already holds quotes up to .*: set another MM_PREFIX"):
        replay.run(config, [path], ReplaySettings())
    assert quotes(config) == ROWS


def test_files_that_begin_later_continue(tmp_path: Path, config: KafkaConfig) -> None:
    for i in range(2):
        part = ROWS[350 * i : 350 * (i + 1)]
        replay.run(config, [write_csv(tmp_path / f"{i}.csv", part)], ReplaySettings())
    assert quotes(config) == ROWS


def test_records_that_nobody_can_read_do_not_hide_what_the_topic_holds(tmp_path: Path, config: KafkaConfig) -> None:
    damaged = [*ROWS, row(0, 1 << 62)]
    replay.run(config, [write_csv(tmp_path / "a.csv", damaged)], ReplaySettings())
    with pytest.raises(BadConfiguration, match="already holds quotes up to 2023"):
        replay.run(config, [write_csv(tmp_path / "b.csv", ROWS)], ReplaySettings())
    later = [row(0, LAST + NS)]
    replay.run(config, [write_csv(tmp_path / "c.csv", later)], ReplaySettings())


def test_a_stop_in_the_middle_sends_no_end(tmp_path: Path, config: KafkaConfig) -> None:
    stop = threading.Event()
    reports: list[Progress] = []

    def stop_at_first_report(progress: Progress) -> None:
        reports.append(progress)
        stop.set()

    path = write_csv(tmp_path / "a.csv", ROWS)
    summary = replay.run(config, [path], ReplaySettings(speed=1), stop_at_first_report, stop)

    assert not summary.ended
    assert 0 < summary.quotes < len(ROWS)
    assert quotes(config) == ROWS[: summary.quotes]
    assert summary.latest_ts == ROWS[summary.quotes - 1].ts
    assert not any(clock.end for each in clocks(config) for clock in each)
    assert reports[0].quotes > 0 and reports[0].ts >= T0 and reports[0].quotes_per_second > 0


def test_sigterm_stops_a_replay(tmp_path: Path, config: KafkaConfig) -> None:
    path = write_csv(tmp_path / "a.csv", ROWS)
    code = f"""
from pathlib import Path
from agents.feeds import replay, session
from agents.stream.config import KafkaConfig
from schemas.times import NS
with session.stop_on_signals() as stop:
    print("ready", flush=True)
    summary = replay.run(
        KafkaConfig({config.bootstrap!r}, {config.prefix!r}), [Path({str(path)!r})],
        replay.ReplaySettings(speed=0.001), lambda progress: print("sending", flush=True), stop,
    )
print(summary.ended)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["ready\n", "sending\n"]
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert rest.endswith("False\n")


def test_a_shuffled_replay_holds_the_same_rows_in_each_symbols_order(tmp_path: Path, config: KafkaConfig) -> None:
    settings = ReplaySettings(shuffle_within_seconds=2.0, seed=5)
    replay.run(config, [write_csv(tmp_path / "a.csv", ROWS)], settings)
    assert quotes(config) == ROWS
    in_order = []
    for records in held(config).values():
        rows = [each for each in records if not isinstance(each, Clock)]
        in_order.append(rows == sorted(rows, key=lambda each: each.ts))
        for symbol in {each.symbol for each in rows}:
            mine = [each.ts for each in rows if each.symbol == symbol]
            assert mine == sorted(mine)
    assert not all(in_order)


def test_an_unsorted_file_is_refused_where_it_goes_back(tmp_path: Path, config: KafkaConfig) -> None:
    path = write_csv(tmp_path / "a.csv", [*ROWS, row(0, T0)])
    with pytest.raises(BadConfiguration, match="row 701"):
        replay.run(config, [path], ReplaySettings())


def test_files_without_rows_are_an_error(tmp_path: Path, config: KafkaConfig) -> None:
    with pytest.raises(BadConfiguration, match=r"no quotes in .*a\.csv"):
        replay.run(config, [write_csv(tmp_path / "a.csv", [])], ReplaySettings())


def test_missing_topics_are_an_error(tmp_path: Path, kafka: Kafka, prefix: str) -> None:
    with pytest.raises(MissingTopics, match=f"{prefix}quotes"):
        replay.run(KafkaConfig(kafka.bootstrap, prefix), [write_csv(tmp_path / "a.csv", ROWS)], ReplaySettings())


def test_no_broker_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_SECONDS", 0.5)
    with pytest.raises(NoBroker, match=r"no Kafka broker answers at 127\.0\.0\.1:1"):
        replay.run(KafkaConfig("127.0.0.1:1"), [write_csv(tmp_path / "a.csv", ROWS)], ReplaySettings())


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["speed", "shuffle_within_seconds"])
def test_settings_that_cannot_be_used(name: str, wrong: float) -> None:
    with pytest.raises(BadConfiguration, match=f"{name} must be a number above 0"):
        ReplaySettings(**{name: wrong})  # type: ignore[arg-type]
