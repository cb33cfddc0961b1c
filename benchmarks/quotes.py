"""The benchmark's input: a topic of quotes, written once, read by every contestant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from agents.feeds.generator import WalkSettings, symbol_names, until, walk
from agents.feeds.publisher import QuotePublisher
from agents.feeds.quotes import Quotes
from agents.feeds.wire import Wire
from agents.processes.fleet import ROLES
from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.confirmed import write_confirmed
from agents.stream.groups import delete_group
from agents.stream.publish import Publisher
from schemas.controls import encode_control
from schemas.records import Control
from schemas.times import NS
from schemas.topics import CONTROLS, QUOTES, TOPICS

START = 1_767_623_400 * NS
_DECISION_SECONDS = 10.0


@dataclass(frozen=True)
class Load:
    """What is written: about so many quotes of so many symbols, at a rate of event time.

    It begins and ends in the middle between two decision times, so that loads of any length hold about as many
    decisions a quote.
    """

    quotes: int
    symbols: int = 100
    partitions: int = 4
    per_symbol_second: float = 20.0
    wire: Wire = Wire.JSON

    @property
    def seconds(self) -> float:
        """Length in event time: whole intervals between decision times, at least one."""
        wanted = self.quotes / (self.symbols * self.per_symbol_second)
        return max(1, round(wanted / _DECISION_SECONDS)) * _DECISION_SECONDS

    def chunks(self) -> Iterator[Quotes]:
        """The quotes."""
        begin = START + round(_DECISION_SECONDS / 2 * NS)
        settings = WalkSettings(self.symbols, self.symbols * self.per_symbol_second)
        return until(walk(settings, begin), begin + round(self.seconds * NS))


@dataclass(frozen=True)
class Written:
    """A load that lies in a topic: its quotes, the records they take, and the last ts of each symbol."""

    config: KafkaConfig
    load: Load
    quotes: int
    records: int
    last_ts: dict[str, int]

    @property
    def topic(self) -> str:
        """The full name of the topic."""
        return self.config.name(QUOTES.name)


def write(config: KafkaConfig, load: Load) -> Written:
    """Create all topics, write the quotes and a control for every symbol."""
    admin = clients.admin(config)
    topics.create(admin, config, TOPICS.values(), load.partitions, 1)
    names = symbol_names(load.symbols)
    control = encode_control(Control(max_position_dollars=100_000))
    write_confirmed(config, CONTROLS.name, [(symbol, control) for symbol in names])
    last = np.zeros(load.symbols, np.int64)
    publisher = Publisher(config, QUOTES)
    try:
        feed = QuotePublisher(publisher, "benchmark", load.wire)
        for chunk in load.chunks():
            feed.publish(chunk)
            last[chunk.number] = chunk.ts
        publisher.flush()
    finally:
        publisher.close()
    ends = topics.ends(admin, config.name(QUOTES.name), range(load.partitions))
    last_ts = {name: int(ts) for name, ts in zip(names, last, strict=True) if ts}
    return Written(config, load, feed.quotes, sum(ends.values()), last_ts)


def forget_results(written: Written) -> None:
    """Remove everything that agents have written, and their groups' offsets; the input stays."""
    config = written.config
    admin = clients.admin(config)
    kept = (QUOTES.name, CONTROLS.name)
    results = [topic for topic in TOPICS.values() if topic.name not in kept]
    for role in ROLES:
        delete_group(config, role)
    topics.delete(admin, [config.name(topic.name) for topic in results])
    topics.create(admin, config, results, written.load.partitions, 1)


def forget(config: KafkaConfig) -> None:
    """Remove every topic with this prefix."""
    admin = clients.admin(config)
    names = [name for name in topics.partition_counts(admin, config) if name.startswith(config.prefix)]
    topics.delete(admin, names)
