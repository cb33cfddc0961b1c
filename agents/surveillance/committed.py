"""Faust made exact: committed records only, offsets across gaps, tables that recover to the newest row.

Written for faust-streaming 0.15.3 and aiokafka 0.14.0, which are pinned for it, through two of Faust's settings
(``app.transport`` and ``Table``); nothing is patched. What it relies on is held in place by
``tests/surveillance/test_committed.py``: run that before either version changes. Stock Faust
- reads the records of aborted transactions too,
- stops committing at offsets that are no records (transaction markers, compaction),
- rewinds partitions while their records are still on the way to the agents, which loses or repeats some,
- acknowledges a record whose handling failed,
- looks for partitions that stand still, and loses its consumer over one that has no position yet,
- may commit an offset before the table rows that came of it are on the broker.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import faust
from faust.serializers.codecs import Codec
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, Message


class _Thread(driver.AIOKafkaConsumerThread):
    """Reads committed records only; Faust itself does so for its exactly-once mode alone."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # AIOKafkaConsumer takes it when it starts
        return consumer


class CommittedConsumer(driver.Consumer):
    """Commits up to the oldest record that was delivered and is not acknowledged, whatever offsets are absent."""

    def __init__(self, transport: Any, callback: Any, *args: Any, **kwargs: Any) -> None:
        self._on_the_way = False
        self._delivered: defaultdict[TP, dict[int, Any]] = defaultdict(dict)  # by offset, in order of delivery
        self._rows_under_way: set[asyncio.Future[Any]] = set()

        async def deliver(message: Any) -> None:
            if self.app.topics.acks_enabled_for(message.topic):
                self._delivered[message.tp][message.offset] = message
            await callback(message)

        super().__init__(transport, deliver, *args, **kwargs)

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Absent offsets were never delivered, so nothing waits for them."""

    def _new_offset(self, tp: TP) -> int | None:
        delivered, acked = self._delivered[tp], self._acked_index[tp]
        committed = self._committed_offset[tp] or 0
        done = []
        for offset in delivered:
            if offset not in acked and offset >= committed:
                break
            done.append(offset)
        for offset in done:
            del delivered[offset]
            acked.discard(offset)
        self._acked[tp].clear()
        return done[-1] + 1 if done else None

    def ack(self, message: Message) -> bool:
        """Acknowledge a record, but not one from before a rewind: it is delivered again."""
        if self._delivered[message.tp].get(message.offset) is message:
            return bool(super().ack(message))
        message.acked = True
        self._unacked_messages.discard(message)
        return False

    def in_work(self) -> int:
        """Number of records that were delivered and are not yet acknowledged."""
        return sum(map(len, self._delivered.values())) - sum(map(len, self._acked_index.values()))

    async def lag(self, tps: Iterable[TP]) -> dict[TP, int]:
        """Committed records, and absent offsets, between the position and the end of each partition."""
        consumer, lag = self._thread._ensure_consumer(), {}
        for tp in tps:
            position = await self.position(tp)
            stable = consumer.last_stable_offset(tp)
            if position is not None and stable is not None:
                lag[tp] = max(0, stable - position)
        return lag

    async def getmany(self, timeout: float) -> AsyncIterator[Any]:
        """As Faust's, and known to be at work while a record is handed on."""
        async for record in super().getmany(timeout):
            self._on_the_way = True
            try:
                yield record
            finally:
                self._on_the_way = False

    async def perform_seek(self) -> None:
        """Rewind to the committed offsets while nothing is on the way; the caller clears queues and resumes."""
        self.stop_flow()
        while self._on_the_way:
            await asyncio.sleep(0)
        await super().perform_seek()
        acks_enabled_for = self.app.topics.acks_enabled_for
        fresh = [tp for tp in self.assignment() if not self._committed_offset[tp] and acks_enabled_for(tp.topic)]
        if fresh:  # Faust would leave these where they happen to be
            await self._thread.seek_to_beginning(*(self._new_topicpartition(*tp) for tp in fresh))
        for state in (self._delivered, self._acked_index, self._acked):
            state.clear()

    async def verify_all_partitions_active(self) -> None:
        """Faust's search for partitions that stand still; the lag tells of them."""

    def row_under_way(self, write: asyncio.Future[Any]) -> None:
        """Let commits wait for a table row's way to the broker; one that fails stays, and fails the commit."""

        def arrived(done: asyncio.Future[Any]) -> None:
            if not done.cancelled() and done.exception() is None:
                self._rows_under_way.discard(done)

        self._rows_under_way.add(write)
        write.add_done_callback(arrived)

    async def _commit_offsets(self, offsets: Any, start_new_transaction: bool = True) -> bool:
        # The producer's flush() may return while rows are still in Faust's own queue.
        if self._rows_under_way:
            await asyncio.gather(*self._rows_under_way)
        return bool(await super()._commit_offsets(offsets, start_new_transaction))


class CommittedTransport(driver.Transport):
    """The driver with that consumer."""

    Consumer = CommittedConsumer


class CommittedTable(faust.Table[Any, Any]):
    """A table of rows with `at`, the source offset applied last.

    rows: the codec of its values; partition_of: a key's partition, that of its source records.
    """

    def __init__(self, app: faust.App, *, rows: Codec, partition_of: Callable[[Any], int], **settings: Any) -> None:
        super().__init__(app, **settings)
        self.partition_of = partition_of
        # Here, because the changelog takes them over as soon as the table is known to the application.
        self.key_serializer, self.value_serializer = "raw", rows

    def info(self) -> dict[str, Any]:
        """What makes a copy of the table."""
        return {**super().info(), "rows": self.value_serializer, "partition_of": self.partition_of}

    def partition_for_key(self, key: Any) -> int:
        """The partition of a key, also where no record is being handled: a timer writes rows too."""
        return self.partition_of(key)

    def send_changelog(self, *args: Any, **kwargs: Any) -> Any:
        """Write a row to the changelog; commits wait for it."""
        write = super().send_changelog(*args, **kwargs)
        consumer: Any = self.app.consumer
        consumer.row_under_way(write)
        return write

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        """Recover rows; a worker that was frozen may have written old ones late, and those do not count."""
        super().apply_changelog_batch(list(self._newest(batch)))

    def _newest(self, batch: Iterable[Any]) -> Iterator[Any]:
        held: dict[Any, Any] = {}
        for event in batch:
            key, row = self._to_key(event.key), event.value
            newest = held.get(key) or self.data.get(key)
            if row is None or newest is None or row.at >= newest.at:
                held[key] = row
                yield event


def committed_app(name: str, **settings: Any) -> faust.App:
    """A Faust application with that transport and table, at least once."""
    app = faust.App(name, Table=CommittedTable, processing_guarantee="at_least_once", **settings)
    app.transport = CommittedTransport(app.conf.broker_consumer, app)
    return app
