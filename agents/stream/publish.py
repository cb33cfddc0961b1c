"""Publishing many records to chosen partitions of one topic, without transactions: what feeds need."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import NoBroker, StreamError
from schemas.topics import Topic

_BATCH = 8_192
_MOST_WAITING = 200_000
_POLL_SECONDS = 0.005
_PATIENCE_WHEN_STOPPING_SECONDS = 1.0


class Publisher:
    """Sends records to one topic in order, each partition's in its own; `partitions` is how many there are.

    stopping: whether the process wants to end, which makes waiting for a broker short; patience_seconds: how long to
    wait for one that takes nothing.
    Raises NoBroker or MissingTopics when it cannot start; call `flush` before `close`, which drops what waits.
    """

    def __init__(
        self,
        config: KafkaConfig,
        topic: Topic,
        stopping: Callable[[], bool] = lambda: False,
        patience_seconds: float = 60.0,
    ) -> None:
        self.partitions = topics.check(clients.admin(config), config, [topic])
        self._bootstrap = config.bootstrap
        self._topic = config.name(topic.name)
        self._stopping = stopping
        self._patience = patience_seconds
        self._producer = clients.producer(config)
        self._failed = 0
        self._failure: KafkaError | None = None

    def send(self, records: Iterable[tuple[int, bytes | None, bytes]]) -> None:
        """Send records given as (partition, key, value); waits while many are on their way.

        Raises NoBroker when the broker takes none for too long, StreamError when it refuses one.
        """
        # One `produce` a record: `produce_batch` (2.15.1) wants a dict for each and is no faster (measured).
        produce, topic, on_delivery = self._producer.produce, self._topic, self._on_delivery
        records = iter(records)
        while batch := list(islice(records, _BATCH)):
            self._wait_for_room()
            for partition, key, value in batch:
                try:
                    produce(topic, value, key, partition, on_delivery)
                except BufferError:
                    self._wait_until(len(self._producer) // 2)
                    produce(topic, value, key, partition, on_delivery)
                except KafkaException as error:
                    raise StreamError(f"cannot send to {topic}: {error.args[0].str()}") from error

    def flush(self) -> None:
        """Wait until the broker has everything. Raises NoBroker or StreamError as `send` does."""
        self._wait_until(0)

    def close(self) -> None:
        """Give the connection back; records that wait are dropped."""
        self._producer.purge()
        self._producer.poll(0)
        self._producer.close()

    def _wait_for_room(self) -> None:
        self._producer.poll(0)
        self._check()
        if len(self._producer) > _MOST_WAITING:
            self._wait_until(_MOST_WAITING // 2)

    def _wait_until(self, waiting: int) -> None:
        """Wait until no more than that many records are on their way."""
        left, last_news = len(self._producer), time.monotonic()
        while left > waiting:
            self._producer.flush(_POLL_SECONDS)
            self._check()
            now = time.monotonic()
            if len(self._producer) < left:
                left, last_news = len(self._producer), now
            elif now - last_news > (_PATIENCE_WHEN_STOPPING_SECONDS if self._stopping() else self._patience):
                raise NoBroker(f"no Kafka broker answers at {self._bootstrap}; {left} records were not delivered")
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise StreamError(f"{self._failed} records to {self._topic} were not delivered: {self._failure.str()}")

    def _on_delivery(self, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self._failed += 1
            self._failure = self._failure or error
