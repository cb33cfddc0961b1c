"""Records as an agent gets them: many at a time, of one partition, in order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from agents.stream.errors import InputGap, InstanceTaken, StreamError


class Source(Protocol):
    """Where a runner's batches come from."""

    def assign(self, positions: Sequence[TopicPartition]) -> None:
        """Fetch partitions from these offsets on, beside those that are fetched already."""
        ...

    def poll(self, timeout: float) -> list[Batch]:
        """What has come, waiting up to `timeout` seconds for a first record. Ends the batches given before."""
        ...

    def close(self) -> None:
        """Give back what is held of the client's memory."""
        ...


class Batch(Protocol):
    """Records of one partition, oldest first. It lives until the next one is taken from its source."""

    topic: str
    partition: int
    first_offset: int
    next_offset: int
    addresses: np.ndarray  # int64[n], where each value lies
    lengths: np.ndarray  # int64[n], bytes of each value, 0 for null
    timestamps: np.ndarray  # int64[n], Kafka's, ms; -1 where there is none

    def __len__(self) -> int: ...

    def key(self, record: int) -> bytes | None:
        """One record's key."""
        ...

    def value(self, record: int) -> bytes | None:
        """One record's value."""
        ...

    def offset(self, record: int) -> int:
        """One record's offset."""
        ...

    def since(self, offset: int) -> Batch:
        """The records from an offset on."""
        ...


_BATCH_BYTES = 8 << 20


class MessageBatch:
    """A batch of confluent-kafka's messages, at least one."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self.topic: str = messages[0].topic()
        self.partition: int = messages[0].partition()
        self.first_offset: int = messages[0].offset()
        self.next_offset: int = messages[-1].offset() + 1
        self._values = [message.value() for message in messages]
        # The columns point into one copy of all values: the parsers read it as they read librdkafka's own memory.
        self._joined = np.frombuffer(b"".join(value or b"" for value in self._values) or b"\0", np.uint8)
        self.lengths = np.fromiter((len(value or b"") for value in self._values), np.int64, len(messages))
        self.addresses = self._joined.ctypes.data + np.cumsum(self.lengths) - self.lengths
        self.timestamps = np.fromiter((message.timestamp()[1] for message in messages), np.int64, len(messages))

    def __len__(self) -> int:
        return len(self._messages)

    def key(self, record: int) -> bytes | None:
        """One record's key."""
        key: bytes | None = self._messages[record].key()
        return key

    def value(self, record: int) -> bytes | None:
        """One record's value."""
        return self._values[record]

    def offset(self, record: int) -> int:
        """One record's offset."""
        offset: int = self._messages[record].offset()
        return offset

    def since(self, offset: int) -> MessageBatch:
        """The records from an offset on."""
        if offset <= self.first_offset:
            return self
        return MessageBatch([message for message in self._messages if message.offset() >= offset])


class BatchSize:
    """How many records to ask for: at most so many, and about `_BATCH_BYTES` if they are like the last ones."""

    def __init__(self, most_records: int) -> None:
        self._most = most_records
        self.records = most_records

    def fit(self, lengths: np.ndarray) -> None:
        """Learn from the lengths (bytes) of the records of a batch."""
        if len(lengths):
            self.records = max(1, min(self._most, int(_BATCH_BYTES / (lengths.mean() + 1))))


class ConsumeSource:
    """Batches by confluent-kafka's `consume`."""

    def __init__(self, consumer: Consumer, batch_records: int) -> None:
        self._consumer = consumer
        self._size = BatchSize(batch_records)

    def assign(self, positions: Sequence[TopicPartition]) -> None:
        """Fetch partitions from these offsets on."""
        self._consumer.incremental_assign(list(positions))

    def poll(self, timeout: float) -> list[Batch]:
        """What has come, waiting up to `timeout` seconds for a first record."""
        # `consume` waits until its batch is full: wait for one record alone, then take what is there.
        first = self._consumer.poll(timeout)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(self._size.records - 1, 0)]
        batches: list[Batch] = [MessageBatch(found) for found in by_partition(messages).values()]
        for batch in batches:
            self._size.fit(batch.lengths)
        return batches

    def close(self) -> None:
        """Nothing to give back."""


def by_partition(messages: Iterable[Message]) -> dict[int, list[Message]]:
    """The messages without an error, by partition. Raises for what a consumer cannot get over."""
    found: dict[int, list[Message]] = {}
    for message in messages:
        if message.error() is not None:
            raise_for(message.error())
        else:
            found.setdefault(message.partition(), []).append(message)
    return found


def raise_for(error: KafkaError) -> None:
    """Raise for what a consumer cannot get over by itself; anything else librdkafka tries again."""
    if error.code() == KafkaError._AUTO_OFFSET_RESET:
        raise InputGap(f"unread input is gone from the log: {error.str()}. See docs/operations.md, lost input.")
    if error.code() in _FATAL or error.fatal():
        # The consumer says only that it is fatal; its cause is in the text.
        if "fenced" in error.str():
            raise InstanceTaken("another process runs under this instance name; give each its own --instance")
        raise StreamError(f"the consumer failed for good: {error.str()}")


_FATAL = (KafkaError._FATAL, KafkaError._FENCED, KafkaError.FENCED_INSTANCE_ID)
