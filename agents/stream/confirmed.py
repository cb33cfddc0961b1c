"""Writing a few records outside a transaction, each confirmed by the broker: what operators need."""

from __future__ import annotations

import time
from collections.abc import Iterable

from confluent_kafka import KafkaError, Message

from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import NoBroker, StreamError

_SECONDS = 15.0


def write_confirmed(config: KafkaConfig, topic: str, records: Iterable[tuple[str, bytes | None]]) -> list[int]:
    """Write keys and values (None: a tombstone) to a topic; the offset of each.

    Raises MissingTopics, NoBroker when the broker does not confirm all of them, StreamError when it refuses one.
    """
    producer = clients.operators_producer(config)
    # A write to a topic that is not there would wait for it.
    topics.require(topics.partition_counts(producer, config), [config.name(topic)])
    deliveries: list[_Delivery] = []
    for key, value in records:
        delivery = _Delivery()
        producer.produce(config.name(topic), value, key, on_delivery=delivery)
        deliveries.append(delivery)
    deadline = time.monotonic() + _SECONDS
    while not all(delivery.came for delivery in deliveries):
        if time.monotonic() > deadline:
            producer.purge()
            raise NoBroker(f"{config.bootstrap} confirmed no write within {_SECONDS:.0f} s; see: mm doctor")
        producer.poll(0.1)
    return [delivery.offset() for delivery in deliveries]


class _Delivery:
    """What became of one record."""

    came = False

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        self._error, self._message = error, message
        self.came = True

    def offset(self) -> int:
        """The record's offset. Raises StreamError."""
        if self._error is not None:
            raise StreamError(f"the broker refused the record: {self._error.str()}")
        offset: int = self._message.offset()
        return offset
