"""How the process starts, ends and fails."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest

from agents.stream.errors import StreamError
from schemas.topics import TRADES
from tests.integration.pipeline import wait_until
from tests.kafka import Kafka
from tests.surveillance.worker import DEADLINE_SECONDS, Desk, Worker, seen, sums, trades

STOP_SECONDS = 5.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_status_0_within_five_seconds_and_has_committed(
    desk: Desk, tmp_path: Path, number: signal.Signals
) -> None:
    desk.write(TRADES.name, trades(200))
    with Worker(desk, tmp_path) as worker:
        wait_until(lambda: seen(worker) == sums(trades(200)), "the sums")
        began = time.monotonic()
        worker.signal(number)
        assert worker.process.wait(DEADLINE_SECONDS) == 0
        assert time.monotonic() - began < STOP_SECONDS
        assert "Traceback" not in worker.log()
    assert desk.committed(TRADES.name) == desk.ends(TRADES.name)


def test_a_clean_restart_takes_nothing_again(desk: Desk, tmp_path: Path) -> None:
    desk.write(TRADES.name, trades(200))
    with Worker(desk, tmp_path) as worker:
        wait_until(lambda: seen(worker) == sums(trades(200)), "the sums")
        worker.stop()
    with Worker(desk, tmp_path) as worker:
        wait_until(lambda: seen(worker) == sums(trades(200)), "the sums")
        assert worker.counts("trades") == {}


def test_it_says_little(desk: Desk, tmp_path: Path) -> None:
    with Worker(desk, tmp_path) as worker:
        worker.stop()
        assert len(worker.log().splitlines()) == 1, worker.log()


def test_pages_do_not_show_tables_before_they_are_recovered(desk: Desk, tmp_path: Path) -> None:
    with Worker(desk, tmp_path, wait_ready=False) as worker:
        wait_until(lambda: worker.get("/live")[0] == 200, "the pages")
        states = set()

        def ready() -> bool:
            tables, health = worker.get("/windows")[0], worker.page("/health")
            states.add((tables, health["ready"]))
            return worker.ready()

        wait_until(ready, "it to be ready")
        assert (503, False) in states
        assert (200, False) not in states


CRASHES = """
import asyncio
from agents.surveillance.committed import CommittedConsumer

async def crash_and_never_answer(self, tps):
    await self.crash(RuntimeError("its consumer is gone"))
    await asyncio.Event().wait()

CommittedConsumer.lag = crash_and_never_answer
"""


def test_a_crash_of_faust_ends_it_whatever_it_waits_for(desk: Desk, tmp_path: Path) -> None:
    with Worker(desk, tmp_path, wait_ready=False, changed=CRASHES) as worker:
        assert worker.process.wait(DEADLINE_SECONDS) == StreamError.exit_status, worker.log()
        assert "mm: Faust cannot go on: RuntimeError('its consumer is gone')" in worker.log()


def test_no_broker_is_told_in_one_line(tmp_path: Path) -> None:
    with Worker(Desk("127.0.0.1:1", "x-"), tmp_path, wait_ready=False) as worker:
        assert worker.process.wait(DEADLINE_SECONDS) == 3
        assert worker.log().startswith("mm: no Kafka broker answers at 127.0.0.1:1")
        assert len(worker.log().splitlines()) == 1


def test_missing_topics_are_told_in_one_line(kafka: Kafka, prefix: str, tmp_path: Path) -> None:
    with Worker(Desk(kafka.bootstrap, prefix), tmp_path, wait_ready=False) as worker:
        assert worker.process.wait(DEADLINE_SECONDS) == 4
        assert f"missing topics: {prefix}alerts" in worker.log()
        assert len(worker.log().splitlines()) == 1


def test_an_instance_that_runs_already_is_told(desk: Desk, tmp_path: Path) -> None:
    with Worker(desk, tmp_path), Worker(desk, tmp_path, wait_ready=False) as second:
        assert second.process.wait(DEADLINE_SECONDS) == 8


def test_rules_that_cannot_be_used_are_told(desk: Desk, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[jump]\nabove = -1\n")
    with Worker(desk, tmp_path, rules=rules, wait_ready=False) as worker:
        assert worker.process.wait(DEADLINE_SECONDS) == 2
        assert "$.jump.above" in worker.log()


def test_a_port_that_is_taken_is_told(desk: Desk, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Worker(desk, tmp_path, wait_ready=False, options=(f"--health-port={port}",)) as worker:
            assert worker.process.wait(DEADLINE_SECONDS) == 2
            assert f"cannot serve pages at 127.0.0.1:{port}" in worker.log()
