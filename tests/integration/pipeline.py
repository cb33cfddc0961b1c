"""The whole pipeline on a real broker: topics, quotes in, agents in threads, everything that comes out."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from agents.execution import ExecutionAgent
from agents.portfolio import PortfolioAgent
from agents.signals import SignalsAgent
from agents.strategy.settings import Settings
from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.runner import Runner, RunnerSettings
from agents.stream.watch import read_whole
from schemas.controls import encode_control
from schemas.partitioning import partition_of
from schemas.records import Control, StarControl
from schemas.topics import CHECKPOINTS, CONTROLS, EXECUTIONS, PNL, QUOTES, SIGNALS, TOPICS, TRADES

PATIENCE_SECONDS = 90.0


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until something is so; fail with what it was that never came."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)


@dataclass
class Running:
    """One agent in a thread."""

    runner: Runner
    thread: threading.Thread
    errors: list[BaseException]

    def stop(self) -> None:
        """Stop it cleanly; raise what ended it before."""
        self.runner.stop()
        self.thread.join(30)
        assert not self.thread.is_alive(), "the agent did not stop"
        if self.errors:
            raise self.errors[0]


@dataclass
class Pipeline:
    """Topics of one prefix, and agents on them."""

    bootstrap: str
    prefix: str
    partitions: int = 4
    settings: Settings = field(default_factory=Settings)
    runner_settings: RunnerSettings = field(default_factory=RunnerSettings)

    def __post_init__(self) -> None:
        self.config = KafkaConfig(self.bootstrap, self.prefix)
        self.admin = clients.admin(self.config)
        self.running: list[Running] = []

    def create_topics(self, **settings: str) -> None:
        """All topics, with settings of `quotes` over the usual ones."""
        quotes = TOPICS["quotes"]
        changed = type(quotes)(
            quotes.name,
            quotes.record,
            quotes.key,
            quotes.writer,
            quotes.settings | settings,
            quotes.partitions,
        )
        chosen = [changed if topic is quotes else topic for topic in TOPICS.values()]
        topics.create(self.admin, self.config, chosen, self.partitions, 1)

    # -- in ------------------------------------------------------------------------------------------------------

    def publish(self, topic: str, records: Iterable[tuple[int, bytes | None, bytes | None]]) -> None:
        """Write records (partition, key, value) and wait until the broker has them."""
        producer = clients.producer(self.config)
        name = self.config.name(topic)
        for partition, key, value in records:
            while True:
                try:
                    producer.produce(name, value, key, partition)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(PATIENCE_SECONDS) == 0

    def control(self, key: str, control: Control | StarControl | None) -> None:
        """Write one record of controls."""
        self.publish(CONTROLS.name, [(0, key.encode(), encode_control(control) if control else None)])

    def quotes(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write quotes (fields of the record) and clocks (``clock``, …), each clock to every partition."""
        self.publish(QUOTES.name, json_records(rows, self.partitions))

    # -- agents --------------------------------------------------------------------------------------------------

    def start(self, role: str, instance: str = "0") -> Running:
        """Start one agent in a thread."""
        agent: Any = {
            "signals": lambda: SignalsAgent(self.settings),
            "execution": lambda: ExecutionAgent(self.settings),
            "portfolio": PortfolioAgent,
        }[role]()
        runner = Runner(agent, self.config, instance, self.runner_settings)
        errors: list[BaseException] = []

        def work() -> None:
            try:
                runner.run()
            except BaseException as error:
                errors.append(error)

        running = Running(runner, threading.Thread(target=work, name=f"{role}-{instance}", daemon=True), errors)
        running.thread.start()
        self.running.append(running)
        return running

    def start_all(self) -> None:
        """Start one agent of each role."""
        for role in ("signals", "execution", "portfolio"):
            self.start(role)

    def stop(self) -> None:
        """Stop all agents cleanly."""
        for running in self.running:
            running.runner.stop()
        for running in self.running:
            running.stop()
        self.running.clear()

    def wait_until_taken(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the signals agents have taken everything that was written."""
        name = self.config.name(QUOTES.name)

        def taken() -> bool:
            self._raise_errors()
            ends = topics.ends(self.admin, name, range(self.partitions))
            at = {c["partition"]: c["offset"] for c in self.checkpoints("signals")}
            return all(at.get(partition, 0) == end for partition, end in ends.items())

        wait_until(taken, "the signals agents to take all quotes", seconds)

    def wait_until_drained(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until everything that was written has gone through all agents."""

        def signals_taken() -> bool:
            self._raise_errors()
            return len(self.records(SIGNALS.name)) == self._counted("execution")

        def executions_taken() -> bool:
            self._raise_errors()
            return len(self.records(EXECUTIONS.name)) == self._counted("portfolio")

        self.wait_until_taken(seconds)
        wait_until(signals_taken, "the execution agent to take all signals", seconds)
        wait_until(executions_taken, "the portfolio agent to take all executions", seconds)

    def _raise_errors(self) -> None:
        for running in self.running:
            if running.errors:
                raise running.errors[0]

    def _counted(self, role: str) -> int:
        return sum(sum(c["counters"].values()) for c in self.checkpoints(role))

    # -- out -----------------------------------------------------------------------------------------------------

    def messages(self, topic: str) -> list[Any]:
        """Every committed message of a topic, in order within a partition."""
        return list(read_whole(self.config, topic))

    def records(self, topic: str) -> list[dict[str, Any]]:
        """Every committed record of a topic with JSON values."""
        return [orjson.loads(message.value()) for message in self.messages(topic)]

    def table(self, topic: str) -> dict[str, dict[str, Any]]:
        """The latest record of each key of a compacted topic."""
        return {message.key().decode(): orjson.loads(message.value()) for message in self.messages(topic)}

    def checkpoints(self, role: str) -> list[dict[str, Any]]:
        """The checkpoints of a role, one a partition."""
        return [row for row in self.table(CHECKPOINTS.name).values() if row["role"] == role]

    def counters(self, role: str) -> dict[str, int]:
        """The counters of a role over all partitions."""
        total: dict[str, int] = {}
        for checkpoint in self.checkpoints(role):
            for name, count in checkpoint["counters"].items():
                total[name] = total.get(name, 0) + count
        return total

    def trades(self) -> list[dict[str, Any]]:
        """All trades, by decision time and symbol."""
        return sorted(self.records(TRADES.name), key=lambda trade: (trade["ts"], trade["symbol"]))

    def pnl(self) -> dict[str, dict[str, Any]]:
        """Profit and loss by symbol."""
        return self.table(PNL.name)


def json_records(
    rows: Iterable[Mapping[str, Any]], partitions: int
) -> Iterable[tuple[int, bytes | None, bytes | None]]:
    """Rows as records of quotes: a quote to its symbol's partition, a clock to every one."""
    for row in rows:
        value = orjson.dumps(row)
        if "clock" in row:
            yield from ((partition, None, value) for partition in range(partitions))
        else:
            yield partition_of(row["symbol"], partitions), row["symbol"].encode(), value


def trades_hash(trades: Sequence[Mapping[str, Any]]) -> str:
    """A digest of every field of every trade; equal only when the trades are equal to the bit."""
    digest = hashlib.sha256()
    for trade in sorted(trades, key=lambda trade: (trade["ts"], trade["symbol"])):
        digest.update(orjson.dumps(trade, option=orjson.OPT_SORT_KEYS))
    return digest.hexdigest()[:16]
