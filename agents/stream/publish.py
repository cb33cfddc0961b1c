"""Publishing many records to chosen partitions of one topic, without transactions: what feeds need."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import NoBroker, StreamError
from schemas.topics import Topic

log = logging.getLogger(__name__)

_BATCH = 8_192
_MOST_WAITING = 200_000
_POLL_SECONDS = 0.005
_TOLD_SECONDS = 10.0
_PATIENCE_WHEN_STOPPING_SECONDS = 1.0


class Publisher:
    """Sends records to one topic in order, each partition's in its own; `partitions` is how many there are.

    stopping: whether the process wants to end, which makes waiting for a broker short; patience_seconds: how long to
    go on without one that takes anything (or `message.timeout.ms`, if that is less).
    Raises NoBroker or MissingTopics when it cannot start; call `flush` before `close`, which drops what waits.
    """

    def __init__(
        self,
        config: KafkaConfig,
        topic: Topic,
        stopping: Callable[[], bool] = lambda: False,
        patience_seconds: float = 300.0,
    ) -> None:
        self.partitions = topics.check(clients.admin(config), config, [topic])
        self._bootstrap = config.bootstrap
        self._topic = config.name(topic.name)
        self._stopping = stopping
        self._patience = patience_seconds
        self._producer = clients.producer(config)
        self._failed = 0
        self._failure: KafkaError | None = None
        self._waiting = 0  # when that was last looked at
        self._last_taken = time.monotonic()  # also when nothing waited
        self._told = False

    def send(self, records: Iterable[tuple[int, bytes | None, bytes]]) -> None:
        """Send records given as (partition, key, value); waits while many are on their way.

        Raises NoBroker when the broker takes none for too long, StreamError when it refuses one, also an earlier one.
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
            self._waiting = len(self._producer)

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
        self._watch()
        if len(self._producer) > _MOST_WAITING:
            self._wait_until(_MOST_WAITING // 2)

    def _wait_until(self, waiting: int) -> None:
        """Wait until no more than that many records are on their way."""
        began = time.monotonic()
        while len(self._producer) > waiting:
            self._producer.flush(_POLL_SECONDS)
            self._check()
            self._watch()
            idle = time.monotonic() - max(began, self._last_taken)
            if self._stopping() and idle > _PATIENCE_WHEN_STOPPING_SECONDS:
                raise self._gone()
        self._check()

    def _watch(self) -> None:
        """Tell of a broker that takes nothing, and give up on it when patience is over."""
        now, waiting = time.monotonic(), len(self._producer)
        idle = now - self._last_taken
        if not waiting or waiting < self._waiting:
            if self._told:
                log.info("Kafka takes records again, after %.0f s", idle)
            self._last_taken, self._told = now, False
        elif idle > self._patience:
            raise self._gone()
        elif idle > _TOLD_SECONDS and not self._told:
            log.warning("no Kafka broker at %s has taken a record for %.0f s; %d wait", self._bootstrap, idle, waiting)
            self._told = True
        self._waiting = waiting

    def _check(self) -> None:
        if self._failure is None:
            return
        if self._failure.code() == KafkaError._MSG_TIMED_OUT:
            raise self._gone()
        raise StreamError(f"{self._failed} records to {self._topic} were not delivered: {self._failure.str()}")

    def _gone(self) -> NoBroker:
        lost = self._failed + len(self._producer)
        return NoBroker(f"{lost} records were not delivered: no Kafka broker at {self._bootstrap} took them in time")

    def _on_delivery(self, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self._failed += 1
            self._failure = self._failure or error
