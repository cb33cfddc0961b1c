"""How far a contestant is: by what it has committed, or by what it says itself where it commits nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException

from agents.stream import clients
from agents.stream.config import KafkaConfig

_ANSWER_SECONDS = 10.0


def committed(config: KafkaConfig, group: str, topic: str) -> Callable[[], float]:
    """A function that tells how many records of a topic a group has committed, 0 while it does not exist."""
    admin = clients.admin(config)
    asked = [ConsumerGroupTopicPartitions(group)]

    def ask() -> float:
        answer = admin.list_consumer_group_offsets(asked, request_timeout=_ANSWER_SECONDS)[group]
        try:
            partitions = answer.result().topic_partitions
        except KafkaException:
            return 0.0
        return float(sum(at.offset for at in partitions if at.topic == topic and at.offset > 0))

    return ask


def written(file: Path) -> Callable[[], float]:
    """A function that tells the number in a file, 0 while there is none."""

    def read() -> float:
        try:
            return float(file.read_text() or 0)
        except OSError:
            return 0.0

    return read
