"""Where a group stands, as anybody may ask; and deleting one."""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import StreamError

_T = TypeVar("_T")
_SECONDS = 30.0
ASK_SECONDS = 2.0
"""For one question of an admin client: the first to a broker without any group can be left without an answer."""
_BETWEEN_SECONDS = 0.25
COORDINATOR_MOVES = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
)
"""What a broker answers for a group or a transaction whose coordinator starts, moves or reads its log."""
_PASSING = (*COORDINATOR_MOVES, KafkaError._TIMED_OUT)


def group_offsets(config: KafkaConfig, group: str, topic: str) -> dict[int, int]:
    """Next offsets that a group has committed in a topic, by partition, those without any left out. Raises NoBroker."""
    # Not an admin client: librdkafka 2.15's ends the process when the group's coordinator is not ready.
    consumer = clients.reader(config, **{"group.id": config.name(group)})
    name = config.name(topic)

    def ask() -> list[TopicPartition]:
        count = topics.partition_counts(consumer, config)[name]
        answer = consumer.committed([TopicPartition(name, partition) for partition in range(count)], timeout=_SECONDS)
        for at in answer:
            if at.error is not None:
                raise KafkaException(at.error)
        return answer

    try:
        return {at.partition: at.offset for at in answer_of(ask) if at.offset >= 0}
    except KafkaException as error:
        raise topics.no_broker(config, error) from error
    finally:
        consumer.close()


def delete_group(config: KafkaConfig, group: str) -> None:
    """Forget a group's offsets; waits until its members' sessions are over. Raises NoBroker or StreamError."""
    admin = clients.admin(config)
    name = config.name(group)
    try:
        answer_of(
            lambda: admin.delete_consumer_groups([name], request_timeout=ASK_SECONDS)[name].result(),
            (*_PASSING, KafkaError.NON_EMPTY_GROUP),
        )
    except KafkaException as error:
        code = error.args[0].code()
        if code in topics.NO_ANSWER:
            raise topics.no_broker(config, error) from error
        if code != KafkaError.GROUP_ID_NOT_FOUND:
            raise StreamError(f"cannot delete the group {name}: {error.args[0].str()}") from error


def answer_of(ask: Callable[[], _T], again_on: Container[int] = _PASSING) -> _T:
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
