"""/live, /ready and /metrics of an agent process tell how it is."""

from __future__ import annotations

import http.client
import itertools
import logging
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from agents.execution import ExecutionTask
from agents.portfolio import PortfolioTask
from agents.signals import SignalsTask
from agents.stream import runner as running
from agents.stream.config import KafkaConfig
from agents.stream.errors import STUCK_EXIT_STATUS, BadConfiguration, TransactionFailed
from agents.stream.health import HealthServer
from agents.stream.restore import Restorer
from agents.stream.runner import Runner, RunnerSettings
from agents.stream.transaction import Transactions
from deploy.broker import Broker
from deploy.ports import HOST
from schemas.records import Control
from tests.integration import market
from tests.integration.pipeline import Pipeline, wait_until

TASKS = {"signals": SignalsTask, "execution": ExecutionTask, "portfolio": PortfolioTask}
LIVE_SECONDS = 1.5


@contextmanager
def pages_of(runner: Runner) -> Iterator[Callable[[str], tuple[int, str]]]:
    """The health pages of a runner; what a page answers, by its path."""
    server = HealthServer(HOST, 0, runner.live, runner.ready, runner.metrics.registry)
    try:
        yield lambda path: get(server.port, path)
    finally:
        server.close()


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def metric(text: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels."""
    wanted = {f'{label}="{value}"' for label, value in labels.items()}
    found = re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text, re.MULTILINE)
    assert found, f"no {name}"
    return sum(float(value) for given, value in found if wanted <= set(given.split(",")))


def fill(desk: Pipeline) -> None:
    for symbol in market.SYMBOLS:
        desk.control(symbol, Control(max_position_dollars=50_000))
    desk.quotes(market.quotes())


class Gate:
    """Holds a task in the middle of its work, at its n-th batch, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, task: type, at_batch: int = 1) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        batches = itertools.count(1)
        process = task.process

        def held(this: Any, batch: Any, out: Any) -> None:
            process(this, batch, out)
            if next(batches) == at_batch:
                self.reached.set()
                self.opened.wait(120)

        monkeypatch.setattr(task, "process", held)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop counts as stuck soon."""
    monkeypatch.setattr(running, "LIVE_SECONDS", LIVE_SECONDS)


def test_working_agents_are_alive_and_ready_and_count_what_they_do(pipeline: Callable[..., Pipeline]) -> None:
    desk = pipeline()
    fill(desk)
    desk.start_all()
    desk.wait_until_drained()
    trades = len(desk.trades())
    for agent, role in zip(desk.running, TASKS, strict=True):
        with pages_of(agent.runner) as page:
            assert page("/live") == page("/ready") == (200, "ok\n")
            status, text = page("/metrics")
            assert status == 200
            own = {"role": role, "instance_name": "0"}
            assert metric(text, "mm_ready", **own) == 1
            assert metric(text, "mm_partitions", **own) == desk.partitions
            assert metric(text, "mm_transactions_total", **own) > 0
            assert metric(text, "mm_transactions_aborted_total", **own) == 0
            assert metric(text, "mm_commit_seconds_count", **own) == metric(text, "mm_transactions_total", **own)
            used = desk.counters(role)["used"]
            assert used > 0
            assert metric(text, "mm_rows_total", result="used", **own) == used
            assert metric(text, "mm_input_records_total", **own) >= used
            wait_until(lambda page=page: metric(page("/metrics")[1], "mm_lag_records") == 0, "no lag")
    assert trades > 0


@pytest.mark.parametrize("role", TASKS)
def test_a_stuck_loop_is_not_alive_and_recovers(
    role: str, pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    desk = pipeline()
    fill(desk)
    gate = Gate(monkeypatch, TASKS[role])
    try:
        desk.start_all()
        (agent,) = (each for each in desk.running if each.thread.name == f"{role}-0")
        assert gate.reached.wait(90)
        with pages_of(agent.runner) as page:
            wait_until(lambda: page("/live")[0] == 503, "the stuck loop to be noticed")
            assert page("/live")[1].startswith("the loop has not turned for ")
            assert page("/ready")[0] == 503
            text = page("/metrics")[1]
            assert (metric(text, "mm_ready"), metric(text, "mm_partitions")) == (0, desk.partitions)
            gate.opened.set()
            wait_until(lambda: page("/live")[0] == 200, "the loop to turn again")
            wait_until(lambda: page("/ready")[0] == 200, "the agent to be ready again")
            wait_until(lambda: metric(page("/metrics")[1], "mm_ready") == 1, "the metric to say so")
    finally:
        gate.opened.set()
    desk.wait_until_drained()


def test_partitions_that_are_being_restored_count_and_make_the_agent_not_ready(
    pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When they are assigned, and again after a transaction that failed."""
    desk = pipeline()
    fill(desk)
    reached, opened = (threading.Semaphore(0) for _ in range(2))
    take, commit = Restorer.take, Transactions._commit
    failed = threading.Event()

    def held(this: Restorer, *arguments: Any) -> Any:
        reached.release()
        assert opened.acquire(timeout=120)
        return take(this, *arguments)

    def fail_once(this: Transactions, *arguments: Any) -> float:
        if not failed.is_set():
            failed.set()
            raise TransactionFailed("by the test")
        return commit(this, *arguments)

    monkeypatch.setattr(Restorer, "take", held)
    monkeypatch.setattr(Transactions, "_commit", fail_once)
    agent = desk.start("signals")
    try:
        with pages_of(agent.runner) as page:
            for _ in range(2):
                assert reached.acquire(timeout=90)
                assert page("/ready")[0] == 503
                text = page("/metrics")[1]
                assert (metric(text, "mm_ready"), metric(text, "mm_partitions")) == (0, desk.partitions)
                opened.release()
            opened.release(100)  # what a slow machine may bring about besides
            wait_until(lambda: metric(page("/metrics")[1], "mm_ready") == 1, "the agent to be ready")
            assert metric(page("/metrics")[1], "mm_partitions") == desk.partitions
    finally:
        opened.release(100)
    assert failed.is_set()


def test_an_agent_that_loses_its_partitions_is_not_behind_any_more(
    pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_LAG_SECONDS", 0.0)
    desk = pipeline(partitions=1, runner_settings=RunnerSettings(batch_records=50))
    desk.config = KafkaConfig(desk.bootstrap, desk.prefix, {"max.poll.interval.ms": "6500"})
    fill(desk)
    gate = Gate(monkeypatch, SignalsTask, at_batch=5)
    try:
        silent = desk.start("signals", "silent")
        assert gate.reached.wait(90), silent.errors
        heir = desk.start("signals", "heir")
        with pages_of(silent.runner) as page:
            assert metric(page("/metrics")[1], "mm_lag_records") > 0
            wait_until(lambda: bool(heir.runner.assigned), "the heir to get the partition")
            gate.opened.set()
            wait_until(lambda: metric(page("/metrics")[1], "mm_partitions") == 0, "the loss to be noticed")
            assert metric(page("/metrics")[1], "mm_lag_records") == 0
    finally:
        gate.opened.set()


def test_an_agent_without_partitions_is_alive_and_not_ready(pipeline: Callable[..., Pipeline]) -> None:
    desk = pipeline(partitions=1)
    first = desk.start("portfolio", "first")
    with pages_of(first.runner) as page:
        wait_until(lambda: page("/ready")[0] == 200, "the first to get the partition")
    second = desk.start("portfolio", "second")
    with pages_of(second.runner) as page:
        wait_until(lambda: page("/live")[0] == 200 and hasattr(second.runner, "_restorer"), "the second to start")
        assert page("/ready") == (503, "no partition is assigned\n")
        assert metric(page("/metrics")[1], "mm_ready") == 0
        first.stop()
        desk.running.remove(first)
        wait_until(lambda: page("/ready")[0] == 200, "the second to take over")
        assert metric(page("/metrics")[1], "mm_partitions") == 1


def test_an_agent_is_not_ready_before_it_runs(pipeline: Callable[..., Pipeline]) -> None:
    desk = pipeline(create_topics=False)
    agent = desk.start("portfolio")
    agent.thread.join(60)
    desk.running.clear()
    with pages_of(agent.runner) as page:
        assert page("/ready")[0] == 503


def test_a_broker_that_stops_in_a_transaction_turns_live_red_until_it_is_back(
    tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    gate = Gate(monkeypatch, SignalsTask)
    with Broker(tmp_path) as broker:
        desk = Pipeline(broker.bootstrap, prefix)
        # Not the end of a session, which a machine under load brings about as well, is looked at here.
        desk.config = KafkaConfig(broker.bootstrap, prefix, {"session.timeout.ms": "60000"})
        desk.create_topics()
        fill(desk)
        agent = desk.start("signals")
        assert gate.reached.wait(90)
        broker.stop()
        with pages_of(agent.runner) as page:
            gate.opened.set()
            wait_until(lambda: page("/live")[0] == 503, "the loop to wait for the broker")
            assert page("/metrics")[0] == 200
            broker.start()
            wait_until(lambda: page("/live")[0] == 200, "the loop to turn again")
            wait_until(lambda: page("/ready")[0] == 200, "the agent to be ready again")
        agent.stop()


# -- the server itself -----------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[HealthServer]:
    made = HealthServer(HOST, 0, lambda: None, lambda: "no partition is assigned", CollectorRegistry())
    yield made
    made.close()


def test_a_probe_may_add_a_query(server: HealthServer) -> None:
    assert get(server.port, "/live?verbose=1") == (200, "ok\n")
    assert get(server.port, "/ready?") == (503, "no partition is assigned\n")


def test_another_page_names_those_that_there_are(server: HealthServer) -> None:
    assert get(server.port, "/") == (404, "there are /live, /ready and /metrics\n")


def test_a_client_that_leaves_early_leaves_no_trace_in_the_log(
    server: HealthServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    answered = threading.Event()
    server._server.shutdown_request = _noting(server._server.shutdown_request, answered)
    with socket.create_connection((HOST, server.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not an orderly end
        client.sendall(b"GET /metrics HTTP/1.0\r\n")
    assert answered.wait(20)
    assert get(server.port, "/live") == (200, "ok\n")
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []
    assert capfd.readouterr().err == ""


def _noting(function: Callable[..., None], done: threading.Event) -> Callable[..., None]:
    def call(*arguments: object) -> None:
        function(*arguments)
        done.set()

    return call


def test_a_taken_port_is_named(server: HealthServer) -> None:
    with pytest.raises(BadConfiguration, match=f"{HOST}:{server.port}: Address already in use"):
        HealthServer(HOST, server.port, lambda: None, lambda: None, CollectorRegistry())


def test_the_watchdog_ends_the_process_with_a_status_of_its_own() -> None:
    program = (
        "import logging, threading; logging.basicConfig()\n"
        "from agents.stream.health import Watchdog\n"
        "Watchdog(lambda: 16.0, 15.0)\n"
        "threading.Event().wait(60)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == STUCK_EXIT_STATUS
    assert "one transaction has taken more than 15 s: ending the process" in ended.stderr
