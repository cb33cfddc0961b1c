"""From a quote's production to its signal and its trade being readable by a read_committed consumer."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import orjson
from confluent_kafka import TopicPartition

from agents.feeds.generator import symbol_names
from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.confirmed import write_confirmed
from benchmarks import java_programs
from benchmarks.java_programs import JavaPrograms
from benchmarks.processes import Agent, running
from benchmarks.report import Table, row
from benchmarks.setting import Setting
from deploy.kafka_jars import JarError
from schemas.controls import encode_control
from schemas.partitioning import partition_of
from schemas.records import Control
from schemas.times import NS
from schemas.topics import CONTROLS, EXECUTIONS, QUOTES, SIGNALS, TOPICS, TRADES

RATE, SYMBOLS = 20_000.0, 100
PARTITIONS = (4, 1)
_TICK_SECONDS = 0.001
_WARM_UP_SECONDS = 20.0
_PATIENCE_SECONDS = 60.0
_DECISION_SECONDS, _RULE_WARM_UP_SECONDS, _BAND_SD = "1", "2", "0.5"
_SETTINGS = (
    f"decision_seconds={_DECISION_SECONDS}",
    f"warmup_seconds={_RULE_WARM_UP_SECONDS}",
    f"band_sd={_BAND_SD}",
)
_STREAMS_COMMIT_MS, _STREAMS_LINGER_MS = "10", "0"
_QUOTE = b'{"symbol":"%s","ts":%d,"bid":%.2f,"bid_size":100,"ask":%.2f,"ask_size":100}'


@dataclass(frozen=True)
class Traders:
    """Who makes signals and trades of the quotes: a name for the table, and its processes for a `with` block."""

    name: str
    running: Callable[[KafkaConfig], AbstractContextManager[None]]


def latency(setting: Setting, warm_up: float = _WARM_UP_SECONDS) -> Iterator[Table]:
    """20 thousand JSON quotes a second, a decision of each symbol each second; the agents and Kafka Streams in turn."""
    contestants, left_out = [AGENTS, WITHOUT_MARKS], []
    try:
        contestants.append(kafka_streams(java_programs.compiled(setting.folder / "classes")))
    except (java_programs.NoCompiler, JarError) as reason:
        left_out.append(f"Kafka Streams is left out: {reason}")
    for partitions in PARTITIONS:
        conditions = setting.conditions(
            f"{RATE:,.0f} JSON quotes/s of {SYMBOLS} symbols in {partitions} partition{'s' * (partitions > 1)}",
            f"{setting.seconds:.0f} s after {warm_up:.0f} that do not count",
            "each second a decision of every symbol",
            "the producer's own linger of 5 ms and the broker included",
            f"{setting.repeats} runs of each in turn, all on this machine",
        )
        runs: dict[str, list[dict[str, dict[str, float]]]] = {traders.name: [] for traders in contestants}
        for _ in range(setting.repeats):
            for traders in contestants:
                setting.note(f"{traders.name}, {partitions} partitions")
                paced = Paced(setting.config("latency"), partitions=partitions)
                runs[traders.name].append(paced.run(traders, setting.seconds, warm_up))
        rows = [
            row(f"{name}: {result} readable", [run[result] for run in found])
            for name, found in runs.items()
            for result in ("signal", "trade")
        ]
        yield Table(f"Latency, {partitions} partition{'s' * (partitions > 1)}", conditions, rows, left_out)


def _agents(name: str, *settings: str) -> Traders:
    """Both agents, with these settings beside the common ones."""

    @contextmanager
    def both(config: KafkaConfig) -> Iterator[None]:
        with ExitStack() as stack:
            agents = [Agent(config, role, (*_SETTINGS, *settings)) for role in ("signals", "execution")]
            processes = [stack.enter_context(agent.running()) for agent in agents]
            for agent, process in zip(agents, processes, strict=True):
                agent.wait_until_ready(process)
            yield

    return Traders(name, both)


AGENTS = _agents("signals and execution agents")
WITHOUT_MARKS = _agents("signals and execution agents, no marks", "marks=off")


def kafka_streams(programs: JavaPrograms) -> Traders:
    """Both steps in one Kafka Streams application; it commits each 10 ms, sends at once, and makes no marks."""

    @contextmanager
    def streams(config: KafkaConfig) -> Iterator[None]:
        quotes, signals, *results = (config.name(topic.name) for topic in (QUOTES, SIGNALS, EXECUTIONS, TRADES))
        how = (_STREAMS_COMMIT_MS, _STREAMS_LINGER_MS, _DECISION_SECONDS, _RULE_WARM_UP_SECONDS, _BAND_SD)
        with tempfile.TemporaryDirectory(prefix="mm-bench-", ignore_cleanup_errors=True) as folder:
            where = (config.bootstrap, quotes, signals, config.name("streams"), folder, "1")
            with running("Kafka Streams", programs.command("StreamsPeer", *where, *how, *results), {}):
                yield

    return Traders("Kafka Streams 4.3.1, 1 thread, no marks", streams)


_Decision = tuple[str, int]
"""A symbol and a decision time."""


class Paced:
    """Quotes at a steady pace, and what the agents make of them.

    A result's clock starts just before the record is produced that fires its decision: the first quote of its
    symbol at or after the decision time. It stops when this process, which also produces, has the record in hand.
    """

    def __init__(
        self, config: KafkaConfig, rate: float = RATE, symbols: int = SYMBOLS, partitions: int = PARTITIONS[0]
    ) -> None:
        self._config = config
        self._rate = rate
        self._partitions = partitions
        self._names = symbol_names(symbols)
        self._encoded = [name.encode() for name in self._names]
        self._home = [partition_of(name, partitions) for name in self._names]
        self._topic = config.name(QUOTES.name)
        self._fired: dict[_Decision, int] = {}
        self._signals: dict[_Decision, float] = {}
        self._trades: dict[_Decision, float] = {}
        self._executed: dict[_Decision, bool] = {}  # and whether into a trade

    def run(self, traders: Traders, seconds: float, warm_up: float) -> dict[str, dict[str, float]]:
        """Produce for so long after a warm-up that does not count; percentiles in ms for signals and trades."""
        config = self._config
        topics.create(clients.admin(config), config, TOPICS.values(), self._partitions, 1)
        control = encode_control(Control(max_position_dollars=10_000_000))
        write_confirmed(config, CONTROLS.name, [(name, control) for name in self._names])
        with traders.running(config):
            self._reader = clients.reader(config)
            try:
                read = [config.name(topic.name) for topic in (SIGNALS, EXECUTIONS, TRADES)]
                self._reader.assign([TopicPartition(topic, p, 0) for topic in read for p in range(self._partitions)])
                since = self._produce(warm_up + seconds) + round(warm_up) * NS
                self._wait_for_the_rest()
            finally:
                self._reader.close()
        return {"signal": _percentiles(self._signals, since), "trade": _percentiles(self._trades, since)}

    def _produce(self, seconds: float) -> int:
        """Produce and read; the second in which that began."""
        producer = clients.producer(self._config)
        steps = np.random.default_rng(7)
        cents = [10_000] * len(self._names)
        turn = itertools.cycle(range(len(self._names)))
        begin = time.time_ns()
        sent = 0
        while (now := time.time_ns()) < begin + round(seconds * NS):
            due = int((now - begin) / NS * self._rate)
            for step in steps.integers(-3, 4, max(0, due - sent)).tolist():
                number = next(turn)
                cents[number] += step
                ts = time.time_ns()
                key, price = self._encoded[number], cents[number] / 100
                self._fired.setdefault((self._names[number], ts // NS * NS), ts)
                producer.produce(self._topic, _QUOTE % (key, ts, price, price + 0.02), key, self._home[number])
            sent = max(sent, due)
            producer.poll(0)
            self._read()
            time.sleep(_TICK_SECONDS)
        producer.flush(_PATIENCE_SECONDS)
        return begin // NS * NS

    def _wait_for_the_rest(self) -> None:
        """Read until every decision has its signal and execution, and its trade where there is one."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._complete():
            if time.monotonic() > deadline:
                counts = (len(self._fired), len(self._signals), len(self._executed), len(self._trades))
                raise RuntimeError("{} decisions gave {} signals, {} executions, {} trades".format(*counts))
            self._read()
            time.sleep(_TICK_SECONDS)

    def _complete(self) -> bool:
        traded = (at for at, into_trade in self._executed.items() if into_trade)
        all_decided = self._signals.keys() == self._executed.keys() >= self._owed()
        return all_decided and all(at in self._trades for at in traded)

    def _owed(self) -> set[_Decision]:
        # At the decision time that a symbol's first quote fires there is nothing before it to decide on.
        first: dict[str, int] = {}
        for symbol, ts in self._fired:
            first[symbol] = min(ts, first.get(symbol, ts))
        return {(symbol, ts) for symbol, ts in self._fired if ts > first[symbol]}

    def _read(self) -> None:
        signals, executions, trades = (self._config.name(topic.name) for topic in (SIGNALS, EXECUTIONS, TRADES))
        for message in self._reader.consume(1_000, 0):
            now = time.time_ns()
            if message.error() is not None:
                continue
            result = orjson.loads(message.value())
            at = result["symbol"], result["ts"]
            milliseconds = (now - self._fired[at]) / 1e6
            if message.topic() == signals:
                self._signals[at] = milliseconds
            elif message.topic() == trades:
                self._trades[at] = milliseconds
            elif message.topic() == executions:
                self._executed[at] = result["trade_id"] is not None


def _percentiles(found: dict[_Decision, float], since: int) -> dict[str, float]:
    counted = [milliseconds for (_, ts), milliseconds in found.items() if ts > since]
    p50, p99, p999 = np.percentile(counted, (50, 99, 99.9)).tolist()
    return {"p50 ms": p50, "p99 ms": p99, "p99.9 ms": p999, "worst ms": max(counted), "how many": len(counted)}
