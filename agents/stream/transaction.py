"""One agent instance's transactions: outputs, table rows, checkpoints and offsets, all or nothing.

While one is being committed, the next one is filled: its records wait here until the producer may have them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NoReturn

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from agents.stream import clients
from agents.stream.config import KafkaConfig
from agents.stream.errors import InstanceTaken, NoBroker, ProducerLost, StreamError, TransactionFailed

Headers = list[tuple[str, bytes]]
_Record = tuple[str, bytes | None, bytes | None, int, Headers | None]
"""Topic, value, key, partition, headers: as `Producer.produce` takes them."""
_INIT_SECONDS = 30.0
_CALL_SECONDS = 5.0
_PATIENCE_SECONDS = 12.0
_HANDED_OVER = 1_000
_COORDINATOR_MOVES = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.CONCURRENT_TRANSACTIONS,
)


class Transactions:
    """Begins, fills and ends transactions; raises `TransactionFailed` or `ProducerLost`, never a bare Kafka error.

    now: a monotonic clock in seconds. `started` is the time at which the transaction that is being filled began, else
    None.
    """

    def __init__(self, config: KafkaConfig, transactional_id: str, now: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._id = transactional_id
        self._now = now
        self._committer = ThreadPoolExecutor(1, "commit")
        self._committing: Future[float] | None = None
        self._commit_started: float | None = None
        self._begun = False  # whether the client knows of the transaction that is being filled
        self._waiting: list[_Record] = []
        self.started: float | None = None
        self.records = 0
        self.bytes = 0

    def open(self) -> None:
        """Take over the transactional id: aborts what a predecessor left open. Raises NoBroker."""
        self._empty()
        self._committing, self._begun = None, False
        deadline = self._now() + _INIT_SECONDS
        while True:
            self._producer: Producer = clients.transactional_producer(self._config, self._id)
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

    @property
    def uncommitted(self) -> bool:
        """Whether there is anything that is not known to be committed."""
        return self.started is not None or self._committing is not None

    def seconds_open(self) -> float:
        """How long the oldest transaction that is not known to be committed has been open, 0 when there is none."""
        began = self._commit_started if self._committing is not None else self.started
        return 0.0 if began is None else self._now() - began

    def begin(self) -> None:
        """Begin a transaction unless one is being filled."""
        if self.started is None:
            self.started = self._now()

    def send(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> None:
        """Add one record to the transaction that is being filled."""
        self._waiting.append((topic, value, key, partition, headers))
        self.records += 1
        self.bytes += len(value) if value else 0
        if len(self._waiting) >= _HANDED_OVER and (self._committing is None or self._committing.done()):
            self._hand_over()

    def _hand_over(self) -> None:
        """Give the producer what waits, once the transaction before is committed."""
        self.settle()
        if not self._begun:
            self._call(lambda producer: producer.begin_transaction())
            self._begun = True
        for record in self._waiting:
            self._produce(record)
        self._waiting.clear()

    def _produce(self, record: _Record) -> None:
        """Give the producer one record; waits while its queue is full."""
        topic, value, key, partition, headers = record
        deadline: float | None = None
        while True:
            try:
                self._producer.produce(topic, value, key, partition, headers=headers)
                return
            except BufferError:
                deadline = deadline or self._now() + _PATIENCE_SECONDS
                self._producer.poll(0.05)
                if self._now() > deadline:
                    raise ProducerLost("the broker took no records for too long") from None
            except KafkaException as error:
                raise _failure(error.args[0]) from error

    def commit(self, topic: str, offsets: Mapping[int, int], consumer: Consumer, done: Callable[[float], None]) -> None:
        """Begin to commit everything sent together with the group's offsets (partition to next offset).

        `done` is called by `settle` when that has succeeded, with the time at which it had.
        """
        self._hand_over()
        positions = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
        # With the group's metadata: the broker refuses it from a process that the group has thrown out meanwhile.
        metadata = consumer.consumer_group_metadata()
        self._commit_started = self.started
        self._done = done
        self._committing = self._committer.submit(self._commit, positions, metadata)
        self._empty()

    def _commit(self, positions: list[TopicPartition], metadata: Any) -> float:
        self._call(lambda producer: producer.send_offsets_to_transaction(positions, metadata, _CALL_SECONDS))
        self._call(lambda producer: producer.commit_transaction(_CALL_SECONDS))
        self._begun = False
        return self._now()

    def settle(self, wait: bool = True) -> None:
        """Take note of a commit under way that is done, or wait until it is; raise what it failed with."""
        if self._committing is None or not (wait or self._committing.done()):
            return
        committing, self._committing = self._committing, None
        self._done(committing.result())

    def abort(self) -> None:
        """Abort what is not committed. A commit under way may still succeed."""
        self._empty()
        with contextlib.suppress(TransactionFailed, ProducerLost):
            self.settle()
        if self._begun:
            self._call(lambda producer: producer.abort_transaction(_CALL_SECONDS), aborting=True)
            self._begun = False

    def close(self) -> None:
        """End the thread that commits."""
        self._committer.shutdown()

    def _empty(self) -> None:
        """Nothing is being filled."""
        self._waiting.clear()
        self.started = None
        self.records = self.bytes = 0

    def _call(self, step: Callable[[Producer], object], aborting: bool = False) -> None:
        """One step of a transaction, again while the client says that it may be tried again."""
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
