"""One agent instance's transactions: outputs, table rows, checkpoints and offsets, all or nothing.

While one is being committed, the next one is filled: its records wait here until the producer may have them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Any, NoReturn

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from agents.stream import clients, refusals
from agents.stream.background import in_background
from agents.stream.config import KafkaConfig
from agents.stream.errors import (
    InstanceTaken,
    NoBroker,
    OutputRefused,
    ProducerLost,
    StreamError,
    TransactionFailed,
)
from agents.stream.groups import COORDINATOR_MOVES
from schemas.topics import CHECKPOINTS

Headers = list[tuple[str, bytes]]
_Record = tuple[str, bytes | None, bytes | None, int, Headers | None]
"""Topic, value, key, partition, headers: as `Producer.produce` takes them."""
_INIT_SECONDS = 30.0
_CALL_SECONDS = 5.0
_PATIENCE_SECONDS = 12.0
_STEP_SECONDS = 0.1
_AGAIN_SECONDS = 0.02
_CLOSE_SECONDS = 1.0
_CONNECT_SECONDS = 2.0
_MARKERS_SECONDS = 0.003
"""A commit is answered before its markers are written. Who adds partitions to the next transaction meanwhile is sent
away, and the client comes back only after 20 ms."""
_OPEN_SECONDS = 0.1  # each call asks at once, unless a question is under way; within one the client asks twice a second
_LONGEST_OPEN_SECONDS = 1.0
_HANDED_OVER = 1_000
_NOT_OPEN_YET = (
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError.CONCURRENT_TRANSACTIONS,  # what the predecessor left is being aborted
    *COORDINATOR_MOVES,
)


class Transactions:
    """Begins, fills and ends transactions; raises `TransactionFailed` or `ProducerLost`, never a bare Kafka error.

    beat: called now and then by whatever waits; what it raises is passed on. `started` is the time (of
    `time.monotonic`) at which the transaction that is being filled got its first record, None while it has none.
    """

    def __init__(self, config: KafkaConfig, transactional_id: str, beat: Callable[[], None]) -> None:
        self._config = config
        self._id = transactional_id
        self._beat = beat
        self._committing: Future[float] | None = None
        self._oldest: float | None = None  # since when there has been something that is not known to be committed
        self._begun = False  # whether the client knows of the transaction that is being filled
        self._waiting: list[_Record] = []
        self.started: float | None = None
        self.records = 0
        self.bytes = 0

    def open(self) -> None:
        """Take over the transactional id: aborts what a predecessor left open. Raises NoBroker."""
        self._empty()
        self._committing, self._oldest, self._begun = None, None, False
        deadline = time.monotonic() + _INIT_SECONDS
        seconds = _OPEN_SECONDS
        self._producer: Producer = clients.transactional_producer(self._config, self._id)
        # Asked before there is a connection, it would look for its coordinator again half a second later.
        with contextlib.suppress(KafkaException):
            self._producer.list_topics(self._config.name(CHECKPOINTS.name), _CONNECT_SECONDS)
        while True:
            try:
                self._producer.init_transactions(seconds)
                return
            except KafkaException as error:
                if time.monotonic() > deadline or error.args[0].code() not in _NOT_OPEN_YET:
                    self._refuse(error)
            seconds = min(1.5 * seconds, _LONGEST_OPEN_SECONDS)
            self._beat()

    def _refuse(self, error: KafkaException) -> NoReturn:
        reason = error.args[0]
        if reason.code() in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED):
            raise InstanceTaken(f"another process runs as {self._id}; give each its own --instance") from error
        if reason.code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            raise NoBroker(f"no transaction coordinator at {self._config.bootstrap}: {reason.str()}") from error
        refusal = refusals.refused(reason)
        if refusal is not None:
            raise OutputRefused(refusals.told(refusal)) from error
        raise StreamError(f"cannot use transactions as {self._id}: {reason.str()}") from error

    @property
    def uncommitted(self) -> bool:
        """Whether there is anything that is not known to be committed."""
        return self.started is not None or self._committing is not None

    def seconds_open(self) -> float:
        """For how long there has been something that is not known to be committed, 0 when there is nothing."""
        oldest = self._oldest
        return 0.0 if oldest is None else time.monotonic() - oldest

    def send(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> None:
        """Add one record to the transaction that is being filled."""
        self._waiting.append((topic, value, key, partition, headers))
        self._note(1, len(value) if value else 0)

    def send_many(
        self, topic: str, partition: int, records: Sequence[tuple[bytes, bytes]], headers: Headers | None = None
    ) -> None:
        """Add records (key, value) that share their headers."""
        self._waiting += [(topic, value, key, partition, headers) for key, value in records]
        self._note(len(records), sum(len(value) for _, value in records))

    def _note(self, records: int, value_bytes: int) -> None:
        """Records have been added; some may go to the producer already."""
        if self.started is None:
            self.started = time.monotonic()
            if self._oldest is None:
                self._oldest = self.started
        self.records += records
        self.bytes += value_bytes
        if len(self._waiting) >= _HANDED_OVER and (self._committing is None or self._committing.done()):
            self._hand_over()

    def _hand_over(self) -> None:
        """Give the producer what waits, once the transaction before is committed."""
        self.settle()
        if not self._begun:
            self._call(lambda producer: producer.begin_transaction(), self._beat)
            self._begun = True
        produce = self._producer.produce
        for record in self._waiting:
            topic, value, key, partition, headers = record
            try:
                produce(topic, value, key, partition, headers=headers)
            except (BufferError, KafkaException):
                self._produce(record)
        self._waiting.clear()

    def _produce(self, record: _Record) -> None:
        """Give the producer one record that it did not take at once; waits while its queue is full."""
        topic, value, key, partition, headers = record
        deadline: float | None = None
        while True:
            try:
                self._producer.produce(topic, value, key, partition, headers=headers)
                return
            except BufferError:
                deadline = deadline or time.monotonic() + _PATIENCE_SECONDS
                self._producer.poll(_STEP_SECONDS)
                self._beat()
                if time.monotonic() > deadline:
                    raise ProducerLost("the broker took no records for too long") from None
            except KafkaException as error:
                if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    raise refusals.too_large(topic, len(key or b"") + len(value or b"")) from error
                raise self._failure(error.args[0]) from error

    def commit(self, topic: str, offsets: Mapping[int, int], consumer: Consumer, done: Callable[[float], None]) -> None:
        """Begin to commit everything sent together with the group's offsets (partition to next offset).

        `done` is called by `settle` when that has succeeded, with the time at which it had.
        """
        self._hand_over()
        positions = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
        # With the group's metadata: the broker refuses it from a process that the group has thrown out meanwhile.
        metadata = consumer.consumer_group_metadata()
        self._done = done
        self._committing = in_background("commit", lambda: self._commit(positions, metadata))
        self._empty()

    def _commit(self, positions: list[TopicPartition], metadata: Any) -> float:
        self._call(lambda producer: producer.send_offsets_to_transaction(positions, metadata, _CALL_SECONDS), _nothing)
        self._call(lambda producer: producer.commit_transaction(_CALL_SECONDS), _nothing)
        self._begun = False
        ended = time.monotonic()
        time.sleep(_MARKERS_SECONDS)
        return ended

    def settle(self, wait_for_it: bool = True) -> None:
        """Take note of a commit under way that is done, or wait until it is; raise what it failed with."""
        committing = self._committing
        if committing is None or not (wait_for_it or committing.done()):
            return
        while not committing.done():
            wait([committing], _STEP_SECONDS)
            self._beat()
        self._committing = None
        try:
            ended = committing.result()
        finally:
            del committing  # with its exception it would keep this frame, and with it a lost producer, in memory
        self._oldest = self.started
        self._done(ended)

    def abort(self) -> None:
        """Abort what is not committed. A commit under way may still succeed."""
        self._empty()
        with contextlib.suppress(TransactionFailed):
            self.settle()
        if self._begun:
            self._call(lambda producer: producer.abort_transaction(_CALL_SECONDS), self._beat, aborting=True)
            self._begun = False
        self._oldest = None

    def close(self) -> None:
        """Leave a moment to a commit that is still under way."""
        if self._committing is not None:
            wait([self._committing], _CLOSE_SECONDS)

    def _empty(self) -> None:
        """Nothing is being filled."""
        self._waiting.clear()
        self.started = None
        self.records = self.bytes = 0

    def _call(self, step: Callable[[Producer], object], beat: Callable[[], None], aborting: bool = False) -> None:
        """One step of a transaction, again while the client says that it may be tried again."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                step(self._producer)
                return
            except KafkaException as error:
                reason = error.args[0]
                if not reason.retriable() or time.monotonic() > deadline:
                    raise ProducerLost(reason.str()) if aborting else self._failure(reason) from error
            beat()
            time.sleep(_AGAIN_SECONDS)  # some errors come back at once

    def _failure(self, reason: KafkaError) -> StreamError:
        if reason.code() == KafkaError._STATE:
            reason = self._cause(reason)
        if reason.txn_requires_abort():
            return refusals.refused(reason) or TransactionFailed(reason.str())
        return ProducerLost(reason.str())

    def _cause(self, reason: KafkaError) -> KafkaError:
        """Why nothing more can be done in a transaction: the client tells it only when another is begun."""
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            return error.args[0]
        return reason


def _nothing() -> None:
    """The committing thread beats for nobody: the loop that waits in `settle` does."""
