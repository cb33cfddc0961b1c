"""One agent instance's transactions: outputs, table rows, checkpoints and offsets, all or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from agents.stream import clients
from agents.stream.config import KafkaConfig
from agents.stream.errors import InstanceTaken, NoBroker, ProducerLost, StreamError, TransactionFailed

Headers = Sequence[tuple[str, bytes]]
_INIT_SECONDS = 30.0
_CALL_SECONDS = 5.0
_PATIENCE_SECONDS = 12.0
_COORDINATOR_MOVES = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.CONCURRENT_TRANSACTIONS,
)


class Transactions:
    """Begins, fills and ends transactions; raises `TransactionFailed` or `ProducerLost`, never a bare Kafka error.

    now: a monotonic clock in seconds. `started` is the time at which the open transaction began, else None.
    """

    def __init__(self, config: KafkaConfig, transactional_id: str, now: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._id = transactional_id
        self._now = now
        self._producer: Producer | None = None
        self.started: float | None = None
        self.records = 0
        self.bytes = 0

    def open(self) -> None:
        """Take over the transactional id: aborts what a predecessor left open. Raises NoBroker."""
        self.started = None
        deadline = self._now() + _INIT_SECONDS
        while True:
            self._producer = clients.transactional_producer(self._config, self._id)
            try:
                self._producer.init_transactions(max(1.0, deadline - self._now()))
                return
            except KafkaException as error:
                # A coordinator that moves or still loads, as after the start of a broker, is there a moment later.
                if error.args[0].code() not in _COORDINATOR_MOVES or self._now() > deadline:
                    self._refuse(error)

    def _refuse(self, error: KafkaException) -> NoReturn:
        reason = error.args[0]
        if reason.code() in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED):
            raise InstanceTaken(f"another process runs as {self._id}; give each its own --instance") from error
        if reason.code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            raise NoBroker(f"no transaction coordinator at {self._config.bootstrap}: {reason.str()}") from error
        raise StreamError(f"cannot use transactions as {self._id}: {reason.str()}") from error

    def begin(self) -> None:
        """Begin a transaction unless one is open."""
        if self.started is None:
            self._call(lambda producer: producer.begin_transaction())
            self.started = self._now()
            self.records = self.bytes = 0

    def send(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
    ) -> None:
        """Add one record to the open transaction; waits while the producer's queue is full."""
        producer = self._producer
        assert producer is not None
        deadline = None
        while True:
            try:
                if headers is None:
                    producer.produce(topic, value, key, partition)
                else:
                    producer.produce(topic, value, key, partition, headers=headers)
                break
            except BufferError:
                deadline = deadline or self._now() + _PATIENCE_SECONDS
                producer.poll(0.05)
                if self._now() > deadline:
                    raise ProducerLost("the broker took no records for too long") from None
            except KafkaException as error:
                raise _failure(error.args[0]) from error
        self.records += 1
        self.bytes += len(value) if value else 0

    def commit(self, topic: str, offsets: Mapping[int, int], consumer: Consumer) -> None:
        """Commit everything sent together with the group's offsets (partition to next offset)."""
        positions = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
        # With the group's metadata: the broker refuses it from a process that the group has thrown out meanwhile.
        metadata = consumer.consumer_group_metadata()
        self._call(lambda producer: producer.send_offsets_to_transaction(positions, metadata, _CALL_SECONDS))
        self._call(lambda producer: producer.commit_transaction(_CALL_SECONDS))
        self.started = None

    def abort(self) -> None:
        """Abort the open transaction, if there is one."""
        if self.started is None:
            return
        assert self._producer is not None
        self._call(lambda producer: producer.abort_transaction(_CALL_SECONDS), aborting=True)
        self.started = None

    def _call(self, step: Callable[[Producer], object], aborting: bool = False) -> None:
        """One step of a transaction, again while the client says that it may be tried again."""
        assert self._producer is not None
        deadline = self._now() + _PATIENCE_SECONDS
        while True:
            try:
                step(self._producer)
                return
            except KafkaException as error:
                reason = error.args[0]
                if not reason.retriable() or self._now() > deadline:
                    raise ProducerLost(reason.str()) if aborting else _failure(reason) from error


def _failure(reason: KafkaError) -> StreamError:
    if reason.txn_requires_abort():
        return TransactionFailed(reason.str())
    return ProducerLost(reason.str())
