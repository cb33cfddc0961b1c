"""From a quote's production to its signal and its trade being readable by a read_committed consumer."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import orjson
from confluent_kafka import TopicPartition

from agents.feeds.generator import symbol_names
from agents.strategy.settings import NS
from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.confirmed import write_confirmed
from benchmarks.processes import Agent
from benchmarks.report import Table, row
from benchmarks.setting import Setting
from schemas.controls import encode_control
from schemas.partitioning import partition_of
from schemas.records import Control
from schemas.topics import CONTROLS, EXECUTIONS, QUOTES, SIGNALS, TOPICS, TRADES

RATE, SYMBOLS, PARTITIONS = 20_000.0, 100, 4
_TICK_SECONDS = 0.001
_WARM_UP_SECONDS = 5.0
_PATIENCE_SECONDS = 60.0
_SETTINGS = ("decision_seconds=1", "warmup_seconds=2", "band_sd=0.5")
_QUOTE = b'{"symbol":"%s","ts":%d,"bid":%.2f,"bid_size":100,"ask":%.2f,"ask_size":100}'


def latency(setting: Setting) -> Iterator[Table]:
    """20 thousand JSON quotes a second, a decision of each symbol each second, commits as they come."""
    runs = [Paced(setting.config("latency")).run(setting.seconds) for _ in range(setting.repeats)]
    conditions = setting.conditions(
        f"{RATE:,.0f} JSON quotes/s of {SYMBOLS} symbols in {PARTITIONS} partitions for {setting.seconds:.0f} s",
        "each second a decision of every symbol",
        "the producer's own linger of 5 ms and the broker included",
        f"{setting.repeats} runs, all on this machine",
    )
    rows = [row(f"quote produced to {name} readable", [run[name] for run in runs]) for name in ("signal", "trade")]
    yield Table("Latency through the agents", conditions, rows)


_Decision = tuple[str, int]
"""A symbol and a decision time."""


class Paced:
    """Quotes at a steady pace, and what the agents make of them.

    A result's clock starts just before the record is produced that fires its decision: the first quote of its
    symbol, or the first clock of its partition, at or after the decision time. It stops when this process, which
    also produces, has the record in hand.
    """

    def __init__(self, config: KafkaConfig, rate: float = RATE, symbols: int = SYMBOLS) -> None:
        self._config = config
        self._rate = rate
        self._names = symbol_names(symbols)
        self._encoded = [name.encode() for name in self._names]
        self._home = [partition_of(name, PARTITIONS) for name in self._names]
        self._topic = config.name(QUOTES.name)
        self._fired: dict[_Decision, int] = {}
        self._signals: dict[_Decision, float] = {}
        self._trades: dict[_Decision, float] = {}
        self._executed: dict[_Decision, bool] = {}  # and whether into a trade

    def run(self, seconds: float) -> dict[str, dict[str, float]]:
        """Produce for so long beside a start that does not count; percentiles in ms for signals and trades."""
        config = self._config
        topics.create(clients.admin(config), config, TOPICS.values(), PARTITIONS, 1)
        control = encode_control(Control(max_position_dollars=10_000_000))
        write_confirmed(config, CONTROLS.name, [(name, control) for name in self._names])
        with ExitStack() as stack:
            agents = [Agent(config, role, _SETTINGS) for role in ("signals", "execution")]
            processes = [stack.enter_context(agent.running()) for agent in agents]
            for agent, process in zip(agents, processes, strict=True):
                agent.wait_until_ready(process)
            self._reader = clients.reader(config)
            stack.callback(self._reader.close)
            read = [config.name(topic.name) for topic in (SIGNALS, EXECUTIONS, TRADES)]
            self._reader.assign([TopicPartition(topic, p, 0) for topic in read for p in range(PARTITIONS)])
            since = self._produce(_WARM_UP_SECONDS + seconds)
            self._wait_for_the_rest()
        return {"signal": _percentiles(self._signals, since), "trade": _percentiles(self._trades, since)}

    def _produce(self, seconds: float) -> int:
        """Produce and read; the decision time before the first that counts."""
        producer = clients.producer(self._config)
        steps = np.random.default_rng(7)
        cents = [10_000] * len(self._names)
        turn = itertools.cycle(range(len(self._names)))
        begin = time.time_ns()
        second, sent = begin // NS, 0
        while (now := time.time_ns()) < begin + round(seconds * NS):
            if now // NS > second:
                second = now // NS
                for name in self._names:
                    self._fired.setdefault((name, second * NS), now)
                for partition in range(PARTITIONS):
                    producer.produce(self._topic, b'{"clock":%d,"feed":"paced"}' % (second * NS), None, partition)
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
        return (begin // NS + round(_WARM_UP_SECONDS)) * NS

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
