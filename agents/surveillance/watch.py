"""Each second: is Faust well, do tables and topics belong together, what has gone quiet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from faust.types import TP

from agents.stream.errors import StreamError
from agents.surveillance import quiet
from agents.surveillance.rows import PartitionRow
from agents.surveillance.sources import SOURCES
from schemas.topics import DEAD_LETTERS, EXECUTIONS, SIGNALS, TRADES, Topic

if TYPE_CHECKING:
    from agents.surveillance.desk import Desk

TICK_SECONDS = 1.0
STUCK_SECONDS = 60.0
NO_PARTITION = "no partition is assigned"
_NEARLY = 100
"""Records behind at which surveillance still counts as caught up: on a busy desk it is never exactly at the end."""


class Watch:
    """Judges what no record tells, while the desk's tables are recovered and have everything that is in its topics."""

    def __init__(self, desk: Desk) -> None:
        self.lags: dict[TP, int] = {}  # of the partitions held; empty while not ready
        self.judged_at = 0.0  # of time.time; 0: not yet
        self._desk = desk
        self._ready_since_ms: int | None = None
        self._state: tuple[str | None, int] = (None, 0)
        self._state_since = time.monotonic()
        self._checked_generation: int | None = None

    async def run(self) -> None:
        """Watch until cancelled. Raises StreamError when Faust gets nowhere, TornState when a table is too new."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            trouble = self._desk.ready()
            self._check_progress(trouble)
            if trouble is not None:
                self._ready_since_ms, self.lags = None, {}
                continue
            now_ms = int(time.time() * 1000)
            if self._ready_since_ms is None:
                self._ready_since_ms = now_ms
            await self._check_tables()
            if await self._caught_up():
                await self._judge(now_ms, self._ready_since_ms)
                self.judged_at = time.time()

    def _check_progress(self, trouble: str | None) -> None:
        """Faust can stop for good without a word while it joins its group or recovers: then only a new start helps."""
        state = (trouble, self._desk.recovery_left() if trouble else 0)
        now = time.monotonic()
        if state != self._state:
            self._state, self._state_since = state, now
        if trouble not in (None, NO_PARTITION) and now - self._state_since > STUCK_SECONDS:
            raise StreamError(f"no progress for {STUCK_SECONDS:.0f} s: {trouble}")

    async def _check_tables(self) -> None:
        generation = self._desk.app.consumer_generation_id
        if generation == self._checked_generation:
            return
        for source in SOURCES:
            ends = await self._desk.app.consumer.highwaters(*self._held(source.topic))
            for key, row in self._desk.rows(source.topic).items():
                partition = self._desk.partition_of(source.topic, key)
                end = ends.get(self._tp(source.topic, partition))
                if end is not None and row.at >= end:
                    raise self._desk.torn(source.topic, partition, row.at)
        self._checked_generation = generation

    async def _caught_up(self) -> bool:
        consumer = self._desk.app.consumer
        tps = [tp for source in SOURCES for tp in self._held(source.topic)]
        self.lags = await consumer.lag(tps)
        return len(self.lags) == len(tps) and sum(self.lags.values()) + consumer.in_work() < _NEARLY

    async def _judge(self, now_ms: int, since_ms: int) -> None:
        desk, settings = self._desk, self._desk.settings
        executions, signals = desk.rows(EXECUTIONS), desk.rows(SIGNALS)
        now = max((row.ts for row in executions.values()), default=0)
        await self._change(EXECUTIONS, lambda rows: quiet.silent_symbols(rows, settings))
        await self._change(TRADES, lambda rows: quiet.passed_windows(rows, now, settings))

        def partitions(rows: Mapping[str, PartitionRow]) -> Iterable[quiet.Change]:
            for partition in sorted(desk.held(DEAD_LETTERS)):
                row = rows.get(str(partition))
                expected = {key: row for key, row in signals.items() if desk.partition_of(SIGNALS, key) == partition}
                come = {key: row for key, row in executions.items() if desk.partition_of(EXECUTIONS, key) == partition}
                yield from quiet.partition(partition, row, expected, come, now_ms, since_ms, settings)

        await self._change(DEAD_LETTERS, partitions)

    async def _change(self, topic: Topic, changes: Callable[[Any], Iterable[quiet.Change]]) -> None:
        desk = self._desk
        generation = desk.app.consumer_generation_id
        async with desk.locks[topic.name]:
            for key, row, alerts in list(changes(desk.rows(topic))):
                await desk.publish(alerts)
                if desk.app.rebalancing or desk.app.consumer_generation_id != generation:
                    return  # the partition may be another worker's by now
                desk.tables[topic.name][key] = row

    def _held(self, topic: Topic) -> list[TP]:
        return [self._tp(topic, partition) for partition in self._desk.held(topic)]

    def _tp(self, topic: Topic, partition: int) -> TP:
        return TP(self._desk.config.name(topic.name), partition)
