"""The Faust application: which topics it reads, the table of each, and how a record becomes rows and alerts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from faust.serializers.codecs import Codec

from agents.stream.config import KafkaConfig
from agents.stream.errors import StreamError, TornState
from agents.surveillance.committed import committed_app
from agents.surveillance.kafka import faust_settings
from agents.surveillance.records import GarbageError, dead_letter_text, decoder
from agents.surveillance.rows import Row, Seen
from agents.surveillance.settings import SurveillanceSettings
from agents.surveillance.sources import ROLE, SOURCES, Source
from agents.surveillance.watch import NO_PARTITION, TICK_SECONDS, Watch
from schemas.dead_letters import Origin, dead_letter
from schemas.events import headers
from schemas.partitioning import partition_of
from schemas.records import Alert
from schemas.topics import ALERTS, DEAD_LETTERS, TRADES, Topic

log = logging.getLogger(__name__)
_LIVE_SECONDS = 10.0


class _RowCodec(Codec):
    """Rows of one type as JSON."""

    def __init__(self, children: Any = None, *, row: type[Row]) -> None:
        super().__init__(children, row=row)
        self._decode = msgspec.json.Decoder(row).decode
        self._encode = msgspec.json.Encoder().encode

    def _loads(self, s: bytes) -> Any:
        return self._decode(s)

    def _dumps(self, s: Any) -> bytes:
        return self._encode(s)


class Desk:
    """What is known of the desk, kept by agents of a Faust application; call `run` in an event loop."""

    def __init__(
        self,
        config: KafkaConfig,
        settings: SurveillanceSettings,
        *,
        instance: str,
        partitions: int,
        state_folder: Path,
    ) -> None:
        self.config = config
        self.settings = settings
        self.partitions = partitions
        self.counts: Counter[tuple[str, str]] = Counter()
        self.published: Counter[tuple[str, str]] = Counter()
        self.watch = Watch(self)
        self.locks = {source.topic.name: asyncio.Lock() for source in SOURCES}
        self._turned = time.monotonic()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Any: Faust's declared interfaces lack much of what its classes have.
        self.app: Any = committed_app(
            config.name(ROLE),
            **faust_settings(config),
            **_FAUST_SETTINGS,
            topic_partitions=partitions,
            datadir=str(state_folder / f"{config.name(ROLE)}-{instance}"),
            # Not that of the pages, whose port may change: a static member that returns gets its old assignment, and
            # Faust takes one with another URL in it for an error.
            canonical_url=f"http://{ROLE}-{instance}",
            consumer_group_instance_id=config.name(f"{ROLE}-{instance}"),
        )
        self.tables: dict[str, Any] = {source.topic.name: self._table(source) for source in SOURCES}
        self._alerts = self._topic(ALERTS)
        self._dead_letters = self._topic(DEAD_LETTERS)
        for source in SOURCES:
            self._read(source)

    # -- what others ask -----------------------------------------------------------------------------------------

    def rows(self, topic: Topic) -> Mapping[str, Any]:
        """The rows of a topic's table, by symbol or partition; only of partitions that this worker holds."""
        held, data = self.held(topic), self.tables[topic.name].data
        return {key: row for key, row in data.items() if self.partition_of(topic, key) in held}

    def partition_of(self, topic: Topic, key: str) -> int:
        """The partition of a row: that of its symbol, or the one that it is about."""
        return int(key) if topic is DEAD_LETTERS else partition_of(key, self.partitions)

    def held(self, topic: Topic) -> set[int]:
        """Partitions of a topic that are assigned to this worker."""
        if not self.app.tables.recovery.completed.is_set():
            return set()
        name = self.config.name(topic.name)
        return {tp.partition for tp in self.app.consumer.assignment() if tp.topic == name}

    def live(self) -> str | None:
        """What is wrong with the event loop, None if it turns."""
        age = time.monotonic() - self._turned
        return f"the loop has not turned for {age:.0f} s" if age > _LIVE_SECONDS else None

    def ready(self) -> str | None:
        """Why the tables cannot be believed yet, None if they can."""
        if self.app.rebalancing:
            return "partitions are being assigned"
        if self.app.in_recovery or not self.app.tables.recovery.completed.is_set():
            return "tables are being recovered"
        return None if self.held(TRADES) else NO_PARTITION

    def recovery_left(self) -> int:
        """Table rows still to be recovered."""
        return int(self.app.tables.recovery.active_remaining_total())

    def torn(self, topic: Topic, partition: int, at: int) -> TornState:
        """The error for a table that is ahead of its topic."""
        tables = ", ".join(self.config.name(source.changelog.name) for source in SOURCES)
        return TornState(
            f"surveillance has taken {self.config.name(topic.name)}, partition {partition}, up to offset {at}, but "
            f"that is not the topic that is there now; delete these to begin anew: {tables}"
        )

    # -- work ----------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Raises StreamError when it cannot go on; the caller then calls `close`."""
        self.app.finalize()
        works = (self._start(), self._beat(), self.watch.run(), self._crash())
        tasks = [asyncio.create_task(work) for work in works]
        stopping = asyncio.create_task(stop.wait())
        ends: list[asyncio.Future[Any]] = [self._failure, *tasks[-2:], stopping]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                if end.done():
                    end.result()
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)

    async def close(self) -> None:
        """Commit what was done and leave the group."""
        await self.app.stop()

    async def _start(self) -> None:
        try:
            await self.app.start()
        except Exception as error:
            self._fail(StreamError(f"Faust did not start: {error!r}"), error)

    async def _crash(self) -> None:
        # Not left to the watch, which may itself wait for the consumer that has crashed.
        await self.app.wait_until_stopped()
        raise StreamError(f"Faust cannot go on: {self.app.crash_reason!r}")

    async def _beat(self) -> None:
        while True:
            self._turned = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)

    def _fail(self, failure: StreamError, cause: BaseException) -> None:
        if not self._failure.done():
            failure.__cause__ = cause
            self._failure.set_exception(failure)

    def _table(self, source: Source) -> Any:
        topic = source.topic
        return self.app.Table(
            topic.name,
            partitions=self.partitions,
            key_type=str,
            rows=_RowCodec(row=source.row),
            partition_of=lambda key: self.partition_of(topic, key),
        )

    def _topic(self, topic: Topic) -> Any:
        return self.app.topic(
            self.config.name(topic.name),
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            allow_empty=True,
        )

    def _read(self, source: Source) -> None:
        decode = decoder(source.topic) if source.topic.record is not None else None

        async def take(stream: Any) -> None:
            async for event in stream.events():
                message = event.message
                try:
                    await self._take(source, decode, message)
                except Exception as error:
                    at = f"{message.topic}, partition {message.partition}, offset {message.offset}"
                    log.debug("failed on %s", at, exc_info=True)
                    known = error if isinstance(error, StreamError) else StreamError(f"failed on {at}: {error!r}")
                    self._fail(known, error)
                    # Faust takes a record for done when its handler raises or goes on.
                    await asyncio.Event().wait()

        self.app.agent(self._topic(source.topic), name=f"{ROLE}.{source.topic.name}")(take)

    async def _take(self, source: Source, decode: Callable[[Any, int], tuple[str, Any]] | None, message: Any) -> None:
        topic = source.topic.name
        seen = Seen(message.partition, message.offset, int(message.timestamp * 1000))
        if decode is None:  # dead letters
            await self._apply(source, str(message.partition), dead_letter_text(message.headers), seen)
            return
        if message.value is None:
            self.counts[topic, "tombstone"] += 1
            return
        try:
            symbol, record = decode(message, self.partitions)
        except GarbageError as error:
            self.counts[topic, "dead_lettered"] += 1
            await self._set_aside(message, str(error))
            return
        await self._apply(source, symbol, record, seen)

    async def _apply(self, source: Source, key: str, record: Any, seen: Seen) -> None:
        topic = source.topic.name
        table = self.tables[topic]
        async with self.locks[topic]:
            row = table.data.get(key)
            if row is not None and seen.offset <= row.at:
                if getattr(record, "ts", 0) > row.ts:
                    raise self.torn(source.topic, seen.partition, row.at)
                self.counts[topic, "again"] += 1
                return
            after, alerts = source.apply(row, record, seen, self.settings)
            # Alerts go first: what is lost between the two is published again, under the same id.
            await self.publish(alerts)
            table[key] = after
        self.counts[topic, "used"] += 1

    async def publish(self, alerts: Iterable[Alert]) -> None:
        """Publish alerts and wait until the broker has them."""
        for alert in alerts:
            key = alert.symbol or alert.rule
            event_id = f"{alert.id}-{alert.state}"
            sent = await self._alerts.send(
                key=key.encode(),
                value=msgspec.json.encode(alert),
                partition=partition_of(key, self.partitions),
                headers=headers("alert", ROLE, event_id, alert.time),
            )
            await sent
            self.published[alert.rule, alert.state] += 1

    async def _set_aside(self, message: Any, reason: str) -> None:
        origin = Origin(message.topic, message.partition, message.offset)
        key, value, found = dead_letter(origin, message.key, message.value, reason, ROLE)
        sent = await self._dead_letters.send(key=key, value=value, partition=message.partition, headers=found)
        await sent


_FAUST_SETTINGS: dict[str, Any] = {
    "store": "memory://",
    "web_enabled": False,
    "topic_disable_leader": True,
    "table_standby_replicas": 0,
    "consumer_auto_offset_reset": "earliest",
    "broker_session_timeout": 10.0,
    "broker_heartbeat_interval": 3.0,
    "broker_rebalance_timeout": 20.0,
    "broker_commit_interval": 1.0,
    "stream_recovery_delay": 0.0,
    "producer_linger": 0.02,
}
