"""The last records of a topic, without a group."""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import Message

from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.read import read_until
from schemas.topics import Topic


def last_records(config: KafkaConfig, topic: Topic, count: int) -> Iterator[Message]:
    """Up to `count` of the latest records of each partition. Raises NoBroker or MissingTopics."""
    admin = clients.admin(config)
    name = config.name(topic.name)
    partitions = range(topics.check(admin, config, [topic]))
    starts, ends = topics.starts(admin, name, partitions), topics.ends(admin, name, partitions)
    spans = {(name, p): (max(starts[p], ends[p] - count), ends[p]) for p in partitions}
    yield from read_until(config, spans)
