"""How far a contestant is: by what it has committed, or by what it says itself where it commits nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from confluent_kafka import KafkaException, TopicPartition

from agents.stream import clients
from agents.stream.config import KafkaConfig
from agents.stream.topics import partition_counts

_ANSWER_SECONDS = 10.0


def committed(config: KafkaConfig, group: str, topic: str) -> Callable[[], float]:
    """A function that tells how many records of a topic a group has committed, 0 while it has no offsets."""
    # What is being committed is not waited for.
    consumer = clients.reader(config, **{"group.id": group, "isolation.level": "read_uncommitted"})
    count = partition_counts(consumer, config)[topic]
    asked = [TopicPartition(topic, partition) for partition in range(count)]

    def ask() -> float:
        try:
            answer = consumer.committed(asked, timeout=_ANSWER_SECONDS)
        except KafkaException:
            return 0.0
        return float(sum(at.offset for at in answer if at.offset > 0))

    return ask


def written(file: Path) -> Callable[[], float]:
    """A function that tells the number in a file, 0 while there is none."""

    def read() -> float:
        try:
            return float(file.read_text() or 0)
        except OSError:
            return 0.0

    return read
