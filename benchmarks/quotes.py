"""The benchmark's input: one topic of quotes, written once, read by every contestant."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from agents.feeds.generator import WalkSettings, symbol_names, walk
from agents.feeds.publisher import QuotePublisher
from agents.feeds.wire import Wire
from agents.signals import SignalsAgent
from agents.strategy.settings import NS
from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.confirmed import write_confirmed
from agents.stream.groups import delete_group
from agents.stream.publish import Publisher
from schemas.controls import encode_control
from schemas.records import Control
from schemas.topics import CONTROLS, QUOTES, TOPICS

START = 1_767_623_400 * NS


@dataclass(frozen=True)
class Load:
    """What is written: about so many quotes of so many symbols, at a rate of event time."""

    quotes: int
    symbols: int = 100
    partitions: int = 4
    per_symbol_second: float = 20.0
    wire: Wire = Wire.JSON


def write(config: KafkaConfig, load: Load) -> int:
    """Create all topics, write the quotes and a control for every symbol; return how many quotes there are."""
    topics.create(clients.admin(config), config, TOPICS.values(), load.partitions, 1)
    control = encode_control(Control(max_position_dollars=100_000))
    write_confirmed(config, CONTROLS.name, [(symbol, control) for symbol in symbol_names(load.symbols)])
    chunks = walk(WalkSettings(load.symbols, load.symbols * load.per_symbol_second), START)
    publisher = Publisher(config, QUOTES)
    try:
        feed = QuotePublisher(publisher, "benchmark", load.wire)
        rows = len(first := next(chunks))
        feed.publish(first)
        for chunk in islice(chunks, load.quotes // rows):
            feed.publish(chunk)
        publisher.flush()
    finally:
        publisher.close()
    return feed.quotes


def forget_results(config: KafkaConfig, partitions: int) -> None:
    """Remove everything that agents have written, and their groups' offsets; the input stays."""
    admin = clients.admin(config)
    kept = (QUOTES.name, CONTROLS.name)
    written = [topic for topic in TOPICS.values() if topic.name not in kept]
    delete_group(config, SignalsAgent.role)
    topics.delete(admin, [config.name(topic.name) for topic in written])
    topics.create(admin, config, written, partitions, 1)
