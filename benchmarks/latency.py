"""From a quote's production to its trade being readable by a read_committed consumer, through both agents."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from confluent_kafka import TopicPartition

from agents.feeds.generator import symbol_names
from agents.strategy.settings import NS
from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.confirmed import write_confirmed
from schemas.controls import encode_control
from schemas.partitioning import partition_of
from schemas.records import Control
from schemas.topics import CONTROLS, QUOTES, TOPICS, TRADES

_TICK_SECONDS = 0.001
_SETTINGS = ("decision_seconds=1", "warmup_seconds=2", "band_sd=0.5")


@dataclass(frozen=True)
class Latency:
    """Milliseconds, over so many trades."""

    trades: int
    p50: float
    p99: float
    p999: float


def measure(
    config: KafkaConfig, seconds: float, rate: float = 20_000, symbols: int = 100, partitions: int = 4
) -> Latency:
    """Pace JSON quotes at a rate for some seconds; each second of event time is a decision time of every symbol.

    A trade's clock starts when the record was produced that fired its decision: the first quote of its symbol, or
    the first clock of its partition, at or after the decision time.
    """
    topics.create(clients.admin(config), config, TOPICS.values(), partitions, 1)
    names = symbol_names(symbols)
    control = encode_control(Control(max_position_dollars=10_000_000))
    write_confirmed(config, CONTROLS.name, [(name, control) for name in names])
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"MM_BOOTSTRAP": config.bootstrap, "MM_PREFIX": config.prefix, "MM_HOME": home}
        options = [part for setting in _SETTINGS for part in ("--set", setting)]
        commands = [[sys.executable, "-m", "agents.cli", role, *options] for role in ("signals", "execution")]
        log = (Path(home) / "log").open("wb")
        agents = [subprocess.Popen(command, env=environment, stdout=log, stderr=log) for command in commands]
        try:
            return _run(config, seconds, rate, names, partitions)
        finally:
            for agent in agents:
                agent.terminate()
            for agent in agents:
                agent.wait(30)
            log.close()


def _run(config: KafkaConfig, seconds: float, rate: float, names: list[str], partitions: int) -> Latency:
    reader = clients.reader(config)
    reader.assign([TopicPartition(config.name(TRADES.name), partition, 0) for partition in range(partitions)])
    producer = clients.producer(config)
    topic = config.name(QUOTES.name)
    home = {name: partition_of(name, partitions) for name in names}
    fired: dict[tuple[str, int], int] = {}
    found: list[float] = []
    random = np.random.default_rng(7)
    price = dict.fromkeys(names, 10_000)
    turn = _for_ever(names)
    begin = time.time_ns()
    second, sent = begin // NS, 0
    end = begin + round(seconds * NS)
    while (now := time.time_ns()) < end:
        if now // NS > second:
            second = now // NS
            for partition in range(partitions):
                producer.produce(topic, b'{"clock":%d,"feed":"paced"}' % (second * NS), None, partition)
            for name in names:
                fired.setdefault((name, second * NS), now)
        due = int((now - begin) / NS * rate)
        steps = random.integers(-3, 4, max(0, due - sent)).tolist()
        for step in steps:
            name = next(turn)
            price[name] += step
            ts = time.time_ns()
            value = b'{"symbol":"%s","ts":%d,"bid":%.2f,"bid_size":100,"ask":%.2f,"ask_size":100}'
            quote = value % (name.encode(), ts, price[name] / 100, price[name] / 100 + 0.02)
            fired.setdefault((name, ts // NS * NS), ts)
            producer.produce(topic, quote, name.encode(), home[name])
        sent = max(sent, due)
        producer.poll(0)
        _read(reader, fired, found, begin + 10 * NS)
        time.sleep(_TICK_SECONDS)
    producer.flush(10)
    reader.close()
    p50, p99, p999 = np.percentile(found, (50, 99, 99.9)).tolist()
    return Latency(len(found), p50, p99, p999)


def _read(reader: object, fired: dict[tuple[str, int], int], found: list[float], since: int) -> None:
    """Note the latency of each trade that has come; those of the start are left out."""
    for message in reader.consume(1_000, 0):  # type: ignore[attr-defined]
        now = time.time_ns()
        if message.error() is None:
            trade = orjson.loads(message.value())
            if trade["ts"] >= since:
                found.append((now - fired[trade["symbol"], trade["ts"]]) / 1e6)


def _for_ever(names: list[str]) -> Iterator[str]:
    while True:
        yield from names
