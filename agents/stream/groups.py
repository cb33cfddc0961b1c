"""Where a group stands, as anybody may ask."""

from __future__ import annotations

import time

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException

from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import StreamError

_SECONDS = 30.0


def group_offsets(config: KafkaConfig, group: str) -> dict[tuple[str, int], int]:
    """Committed next offsets of a group, by full topic name and partition. Raises NoBroker."""
    asked = [ConsumerGroupTopicPartitions(config.name(group))]
    # Held by a name until the answer is there: a client that is collected never answers.
    admin = clients.admin(config)
    answers = admin.list_consumer_group_offsets(asked, request_timeout=_SECONDS)
    try:
        found = [future.result() for future in answers.values()]
    except KafkaException as error:
        raise topics.no_broker(config, error) from error
    return {
        (at.topic, at.partition): at.offset for group_of in found for at in group_of.topic_partitions if at.offset >= 0
    }


def delete_group(config: KafkaConfig, group: str) -> None:
    """Forget a group's offsets; waits until its members' sessions are over. Raises StreamError."""
    admin = clients.admin(config)
    name = config.name(group)
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            admin.delete_consumer_groups([name])[name].result()
            return
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.GROUP_ID_NOT_FOUND:
                return
            if code != KafkaError.NON_EMPTY_GROUP or time.monotonic() > deadline:
                raise StreamError(f"cannot delete the group {name}: {error.args[0].str()}") from error
        time.sleep(0.1)


def end_offsets(config: KafkaConfig, topic: str) -> dict[int, int]:
    """True end of every partition of a topic. Raises NoBroker."""
    admin = clients.admin(config)
    name = config.name(topic)
    count = topics.partition_counts(admin, config)[name]
    try:
        return dict(topics.ends(admin, name, range(count)))
    except KafkaException as error:
        raise topics.no_broker(config, error) from error
