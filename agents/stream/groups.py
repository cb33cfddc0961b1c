"""Where a group stands, as anybody may ask."""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from typing import TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException

from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import StreamError

_T = TypeVar("_T")
_SECONDS = 30.0
_BETWEEN_SECONDS = 0.1
COORDINATOR_MOVES = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
)
"""What a broker answers for a group or a transaction whose coordinator starts, moves or reads its log."""


def group_offsets(config: KafkaConfig, group: str) -> dict[tuple[str, int], int]:
    """Committed next offsets of a group, by full topic name and partition. Raises NoBroker."""
    name = config.name(group)
    # Held by a name until the answer is there: a client that is collected never answers.
    admin = clients.admin(config)

    def ask() -> list[ConsumerGroupTopicPartitions]:
        # First: a broker without any group says that it is no coordinator yet, and where it says so when asked for
        # offsets, librdkafka 2.15's admin client ends the process by a segmentation fault.
        admin.describe_consumer_groups([name], request_timeout=_SECONDS)[name].result()
        answers = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)], request_timeout=_SECONDS)
        return [future.result() for future in answers.values()]

    try:
        found = answer_of(ask)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return {}
        raise topics.no_broker(config, error) from error
    return {
        (at.topic, at.partition): at.offset for group_of in found for at in group_of.topic_partitions if at.offset >= 0
    }


def delete_group(config: KafkaConfig, group: str) -> None:
    """Forget a group's offsets; waits until its members' sessions are over. Raises NoBroker or StreamError."""
    admin = clients.admin(config)
    name = config.name(group)
    try:
        answer_of(
            lambda: admin.delete_consumer_groups([name], request_timeout=_SECONDS)[name].result(),
            (*COORDINATOR_MOVES, KafkaError.NON_EMPTY_GROUP),
        )
    except KafkaException as error:
        code = error.args[0].code()
        if code in topics.NO_ANSWER:
            raise topics.no_broker(config, error) from error
        if code != KafkaError.GROUP_ID_NOT_FOUND:
            raise StreamError(f"cannot delete the group {name}: {error.args[0].str()}") from error


def answer_of(ask: Callable[[], _T], again_on: Container[int] = COORDINATOR_MOVES) -> _T:
    """What `ask` returns, asked again while it raises an error that passes. Raises KafkaException."""
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in again_on or time.monotonic() > deadline:
                raise
        time.sleep(_BETWEEN_SECONDS)


def end_offsets(config: KafkaConfig, topic: str) -> dict[int, int]:
    """True end of every partition of a topic. Raises NoBroker."""
    admin = clients.admin(config)
    name = config.name(topic)
    count = topics.partition_counts(admin, config)[name]
    return dict(topics.ends(admin, name, range(count)))
