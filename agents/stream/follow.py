"""Reading all partitions of a topic from chosen offsets on, without a group, for whoever keeps the offsets."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaError, Message, TopicPartition

from agents.stream import clients, topics
from agents.stream.batch import Batch, MessageBatch, raise_for
from agents.stream.config import KafkaConfig
from agents.stream.errors import InputGap
from schemas.topics import Topic


class PartitionReader:
    """Committed records of every partition, from its offset in `offsets`, else from the beginning.

    Raises NoBroker or MissingTopics, and InputGap when records from an offset on are gone or were never there.
    """

    def __init__(self, config: KafkaConfig, topic: Topic, offsets: Mapping[int, int]) -> None:
        admin = clients.admin(config)
        name = config.name(topic.name)
        partitions = range(topics.check(admin, config, [topic]))
        ends, starts = topics.ends(admin, name, partitions), topics.starts(admin, name, partitions)
        positions = []
        for partition in partitions:
            offset = offsets.get(partition, starts[partition])
            if not starts[partition] <= offset <= ends[partition]:
                raise InputGap(
                    f"{name} [{partition}]: the next record to read is {offset}, but the log has {starts[partition]} "
                    f"to {ends[partition]}: its records are gone, or the topic was made anew"
                )
            positions.append(TopicPartition(name, partition, offset))
        self.partitions = len(positions)
        self._reader = clients.reader(config)
        self._reader.assign(positions)

    def poll(self, seconds: float, most: int) -> list[Batch]:
        """What has come, at most that many records, waiting up to `seconds` for a first one; by partition."""
        first = self._reader.poll(seconds)
        if first is None:
            return []
        grouped: dict[int, list[Message]] = {}
        for message in (first, *self._reader.consume(most - 1, 0)):
            if message.error() is None:
                grouped.setdefault(message.partition(), []).append(message)
            elif message.error().code() != KafkaError._PARTITION_EOF:
                raise_for(message.error())
        return [MessageBatch(messages) for messages in grouped.values()]

    def close(self) -> None:
        """Leave the topic."""
        self._reader.close()
