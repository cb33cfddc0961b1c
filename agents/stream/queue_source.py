"""Batches straight from librdkafka's queue: the fast way of `agents.stream.batch.ConsumeSource`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from agents.stream import librdkafka
from agents.stream.batch import Batch, BatchSize, MessageBatch, by_partition, raise_for

_MANY_MESSAGES = 500
"""Fewer are given back sooner than another thread has been told to."""


class QueueBatch:
    """Records of one partition that lie in librdkafka's memory."""

    def __init__(
        self,
        topic: str,
        partition: int,
        messages: np.ndarray,
        offsets: np.ndarray,
        addresses: np.ndarray,
        lengths: np.ndarray,
        timestamps: np.ndarray,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.first_offset = int(offsets[0])
        self.next_offset = int(offsets[-1]) + 1
        self.addresses = addresses
        self.lengths = lengths
        self.timestamps = timestamps
        self.messages = messages
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self.messages)

    def key(self, record: int) -> bytes | None:
        """One record's key."""
        return librdkafka.key_of(int(self.messages[record]))

    def value(self, record: int) -> bytes | None:
        """One record's value."""
        return librdkafka.bytes_at(int(self.addresses[record]), int(self.lengths[record]))

    def offset(self, record: int) -> int:
        """One record's offset."""
        return int(self._offsets[record])

    def since(self, offset: int) -> QueueBatch:
        """The records from an offset on."""
        if offset <= self.first_offset:
            return self
        rest = slice(int(np.searchsorted(self._offsets, offset)), None)
        columns = (self.messages, self._offsets, self.addresses, self.lengths, self.timestamps)
        return QueueBatch(self.topic, self.partition, *(column[rest] for column in columns))


class QueueSource:
    """Takes the messages of all assigned partitions through one queue of its own.

    Raises `librdkafka.Unavailable` where that cannot be done. Close it before the consumer.
    """

    def __init__(self, consumer: Consumer, topic: str, batch_records: int) -> None:
        self._consumer = consumer
        self._topic = topic
        self._library = librdkafka.load()
        self._handle = self._library.handle(consumer)
        self._queue = self._library.queue_new(self._handle)
        self._size = BatchSize(batch_records)
        self._messages = np.zeros(batch_records, np.int64)
        self._messages_before = np.zeros(batch_records, np.int64)
        self._errors = np.zeros(batch_records, np.int32)
        self._partitions = np.zeros(batch_records, np.int32)
        self._offsets = np.zeros(batch_records, np.int64)
        self._addresses = np.zeros(batch_records, np.int64)
        self._lengths = np.zeros(batch_records, np.int64)
        self._timestamps = np.zeros(batch_records, np.int64)
        self._scratch = np.zeros(1, np.int64)
        self._held = 0
        self._beside = ThreadPoolExecutor(1, "give-back")
        self._giving_back: Future[None] | None = None

    def assign(self, positions: Sequence[TopicPartition]) -> None:
        """Fetch partitions from these offsets on."""
        self._consumer.incremental_assign(list(positions))
        for position in positions:
            self._redirect(position.partition)

    def poll(self, timeout: float) -> list[Batch]:
        """What has come, waiting up to `timeout` seconds for a first record. Ends the batches given before."""
        self._release()
        # What reached the consumer's own queue before its partition was redirected is older than all in ours.
        strays = self._strays()
        if strays:
            return strays
        first = self._library.consume_queue(self._queue, round(timeout * 1000))
        if not first:
            return []
        self._messages[0] = first
        self._held = 1
        more = self._library.consume_batch_queue(
            self._queue, 0, self._messages[1:].ctypes.data_as(ctypes.c_void_p), self._size.records - 1
        )
        self._held += max(0, more)
        return self._batches()

    def close(self) -> None:
        """Give everything back to librdkafka."""
        self._release()
        self._beside.shutdown()
        self._library.queue_destroy(self._queue)

    def _redirect(self, partition: int) -> None:
        queue = self._library.queue_get_partition(self._handle, self._topic.encode(), partition)
        self._library.queue_forward(queue, self._queue)
        self._library.queue_destroy(queue)  # our reference to it; the partition keeps its own

    def _strays(self) -> list[Batch]:
        """Serve callbacks; take the messages that came the ordinary way."""
        messages: list[Message] = []
        while len(messages) < self._size.records and (message := self._consumer.poll(0)) is not None:
            messages.append(message)
        if not messages:
            return []
        batches: list[Batch] = [MessageBatch(found) for found in by_partition(messages).values()]
        for batch in batches:
            # The client sets its own way anew when an assignment takes effect late.
            self._redirect(batch.partition)
        return batches

    def _batches(self) -> list[Batch]:
        n = self._held
        librdkafka.describe(
            self._messages[:n],
            self._library.message_timestamp,
            self._scratch,
            self._errors,
            self._partitions,
            self._offsets,
            self._addresses,
            self._lengths,
            self._timestamps,
        )
        good: slice | np.ndarray = slice(0, n)
        if self._errors[:n].any():
            self._raise_for_errors(n)
            good = np.flatnonzero(self._errors[:n] == 0)
        all_columns = (self._messages, self._offsets, self._addresses, self._lengths, self._timestamps)
        columns = [column[good] for column in all_columns]
        partitions = self._partitions[good]
        self._size.fit(self._lengths[:n])
        # librdkafka hands over whole stretches of one partition; each is a batch, in order.
        begins = np.flatnonzero(np.diff(partitions, prepend=-1)).tolist()
        return [
            QueueBatch(self._topic, int(partitions[begin]), *(column[begin:end] for column in columns))
            for begin, end in pairwise([*begins, len(partitions)])
        ]

    def _raise_for_errors(self, n: int) -> None:
        for code in np.unique(self._errors[:n]).tolist():
            if code:
                raise_for(KafkaError(code))

    def _release(self) -> None:
        """Give the last batch back to librdkafka: many messages in another thread, beside the work on the next ones."""
        if not self._held:
            return
        messages = self._messages[: self._held]
        if len(messages) < _MANY_MESSAGES:
            librdkafka.destroy(messages, self._library.message_destroy)
        else:
            if self._giving_back is not None:
                self._giving_back.result()
            self._giving_back = self._beside.submit(librdkafka.destroy, messages, self._library.message_destroy)
            self._messages, self._messages_before = self._messages_before, self._messages
        self._held = 0
