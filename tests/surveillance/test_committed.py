"""Holds agents/surveillance/committed.py in place: run these before faust, mode or aiokafka change."""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.tables.recovery import Recovery
from faust.transport import consumer as stock
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from agents.surveillance.committed import CommittedConsumer, CommittedTable, committed_app

TP0 = TP("trades", 0)
EXAMINED = {"faust-streaming": "0.15.3", "mode-streaming": "0.7.1", "aiokafka": "0.14.0"}


def message(offset: int, topic: str = "trades") -> ConsumerMessage:
    return ConsumerMessage(topic, 0, offset, 0.0, 0, [], b"k", b"v", None, tp=TP(topic, 0))


@pytest.fixture
def app() -> Any:
    app = committed_app("guard", broker="kafka://127.0.0.1:1", table_standby_replicas=0)
    app.topics._acking_topics.add("trades")
    return app


@pytest.fixture
def consumer(app: Any) -> CommittedConsumer:
    consumer = app.consumer
    assert isinstance(consumer, CommittedConsumer), "app.transport no longer chooses the consumer"
    return consumer


def deliver(consumer: CommittedConsumer, *offsets: int) -> list[ConsumerMessage]:
    async def nothing(_: Any) -> None:
        pass

    consumer.app.topics._tp_to_callback[TP0] = nothing
    messages = [message(offset) for offset in offsets]
    for each in messages:
        asyncio.run(consumer.callback(each))
    return messages


def ack(consumer: CommittedConsumer, *messages: ConsumerMessage) -> None:
    for each in messages:
        each.incref()
        each.ack(consumer)


def test_the_versions_are_those_that_were_examined() -> None:
    assert {name: importlib.metadata.version(name) for name in EXAMINED} == EXAMINED


def test_absent_offsets_do_not_hold_back_the_commit(consumer: CommittedConsumer) -> None:
    ack(consumer, *deliver(consumer, 0, 1, 3, 7, 20))
    assert consumer._new_offset(TP0) == 21


def test_a_record_in_work_holds_back_the_commit(consumer: CommittedConsumer) -> None:
    first, second, third = deliver(consumer, 0, 2, 4)
    ack(consumer, first, third)
    assert consumer.in_work() == 1
    assert consumer._new_offset(TP0) == 1
    ack(consumer, second)
    assert consumer._new_offset(TP0) == 5
    assert consumer._new_offset(TP0) is None
    assert consumer.in_work() == 0


def test_a_record_from_before_a_rewind_is_not_acknowledged_in_place_of_its_second_delivery(
    consumer: CommittedConsumer,
) -> None:
    [before] = deliver(consumer, 5)
    consumer._delivered.clear()
    [again] = deliver(consumer, 5)
    ack(consumer, before)
    assert consumer._new_offset(TP0) is None
    ack(consumer, again)
    assert consumer._new_offset(TP0) == 6


def test_changelogs_are_not_counted_as_delivered(consumer: CommittedConsumer) -> None:
    async def nothing(_: Any) -> None:
        pass

    consumer.app.topics._tp_to_callback[TP("log", 0)] = nothing
    asyncio.run(consumer.callback(message(3, "log")))
    assert not any(consumer._delivered.values())


def test_committed_records_alone_are_read(consumer: CommittedConsumer) -> None:
    async def make() -> str:
        return consumer._thread._create_worker_consumer(consumer.transport)._isolation_level

    assert asyncio.run(make()) == "read_committed"


def test_aiokafka_takes_the_isolation_level_when_it_starts() -> None:
    from aiokafka import AIOKafkaConsumer

    assert "isolation_level=self._isolation_level" in inspect.getsource(AIOKafkaConsumer.start)


def test_a_commit_waits_for_table_rows_and_fails_with_them(consumer: CommittedConsumer) -> None:
    async def try_it() -> None:
        row: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        consumer.row_under_way(row)
        commit = asyncio.ensure_future(consumer._commit_offsets({}))
        await asyncio.sleep(0)
        assert not commit.done()
        row.set_exception(RuntimeError("not written"))
        with pytest.raises(RuntimeError, match="not written"):
            await commit
        with pytest.raises(RuntimeError, match="not written"):
            await consumer._commit_offsets({})

    asyncio.run(try_it())


class Thread:
    """Stands in for the consumer's thread: what was asked of it, in order."""

    def __init__(self, committed: dict[TP, int | None]) -> None:
        self.committed, self.calls = committed, []

    def assignment(self) -> set[TP]:
        return set(self.committed)

    async def seek_to_committed(self) -> dict[TP, int | None]:
        self.calls.append(("committed", *self.committed))
        return self.committed

    async def seek_to_beginning(self, *tps: Any) -> None:
        self.calls.append(("beginning", *(TP(*tp) for tp in tps)))


def test_a_rewind_waits_for_the_record_on_its_way_then_forgets_what_was_delivered(
    app: Any, consumer: CommittedConsumer
) -> None:
    fresh, log = TP("trades", 1), TP("log", 0)

    async def try_it() -> None:
        consumer._thread = thread = Thread({TP0: 3, fresh: None, log: None})
        consumer.resume_flow()
        consumer._on_the_way = True
        rewind = asyncio.ensure_future(consumer.perform_seek())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not consumer.flow_active, "the fetcher would hand on more records"
        assert thread.calls == [], "rewound while a record was on its way"
        consumer._on_the_way = False
        await rewind
        assert thread.calls == [("committed", TP0, fresh, log), ("beginning", fresh)]

    ack(consumer, *deliver(consumer, 3, 4))
    asyncio.run(try_it())
    assert consumer.in_work() == 0
    assert not (consumer._delivered or consumer._acked_index or consumer._acked)


def test_a_record_is_on_its_way_until_it_has_been_handed_on(consumer: CommittedConsumer) -> None:
    async def next_records(timeout: float) -> Any:
        return {TP0: [message(1), message(2)]}, {TP0}

    async def try_it() -> None:
        consumer._wait_next_records = next_records
        consumer._to_message = lambda tp, record: record
        consumer.highwater = lambda tp: 3
        consumer.resume_flow()
        async for _ in consumer.getmany(1.0):
            assert consumer._on_the_way
        assert not consumer._on_the_way

    asyncio.run(try_it())


def table(app: Any, rows: Any = "json") -> CommittedTable:
    table = app.Table("t", partitions=4, key_type=str, rows=rows, partition_of=lambda key: len(key))
    assert isinstance(table, CommittedTable), "the Table setting no longer chooses the class"
    return table


def test_a_partition_without_a_position_yet_does_not_end_the_consumer(
    consumer: CommittedConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(now: float, tp: TP) -> None:
        raise AssertionError("no position")  # aiokafka's answer between an assignment and the first fetch

    monkeypatch.setattr(consumer, "assignment", lambda: {TP0})
    monkeypatch.setattr(consumer, "verify_event_path", fails)
    asyncio.run(consumer.verify_all_partitions_active())
    with pytest.raises(AssertionError, match="no position"):
        asyncio.run(stock.Consumer.verify_all_partitions_active(consumer))


def test_a_table_hands_its_rows_to_the_consumer_and_places_them_by_key(app: Any, consumer: CommittedConsumer) -> None:
    sent: list[tuple[Any, ...]] = []

    async def try_it() -> None:
        t = table(app)

        def send_soon(**message: Any) -> Any:
            sent.append((message["key"], message["value"], message["partition"]))
            return faust.types.FutureMessage(SimpleNamespace(partition=message["partition"]))

        t.changelog_topic.send_soon = send_soon
        t["abc"] = {"at": 1}
        assert len(consumer._rows_under_way) == 1

    asyncio.run(try_it())
    assert sent == [("abc", {"at": 1}, 3)]


def test_a_changelog_uses_the_tables_codec_both_ways(app: Any) -> None:
    t = table(app, rows="pickle_restricted")
    schema = t.changelog_topic.clone().schema
    assert (schema.key_serializer, schema.value_serializer) == ("raw", "pickle_restricted")
    assert (t.key_serializer, t.value_serializer) == ("raw", "pickle_restricted")


def test_recovery_keeps_the_row_with_the_newest_source_offset(app: Any) -> None:
    def event(at: int | None) -> Any:
        value = None if at is None else SimpleNamespace(at=at)
        return SimpleNamespace(key="S", value=value, message=SimpleNamespace(value=value, partition=0))

    async def try_it() -> Any:
        t = table(app)
        t.apply_changelog_batch([event(4), event(9), event(4)])
        t.apply_changelog_batch([event(5)])
        return t.data["S"].at

    assert asyncio.run(try_it()) == 9


SIGNATURES = [
    (stock.Consumer._new_offset, "(self, tp"),
    (stock.Consumer._add_gap, "(self, tp"),
    (stock.Consumer.ack, "(self, message"),
    (stock.Consumer.perform_seek, "(self)"),
    (stock.Consumer.getmany, "(self, timeout"),
    (stock.Consumer._commit_offsets, "(self, offsets"),
    (stock.Consumer.verify_all_partitions_active, "(self)"),
    (driver.AIOKafkaConsumerThread._create_worker_consumer, "(self, transport"),
    (driver.Consumer._new_consumer_thread, "(self)"),
    (faust.Table.send_changelog, "(self, partition"),
    (faust.Table.apply_changelog_batch, "(self, batch"),
    (faust.Table.partition_for_key, "(self, key"),
]


@pytest.mark.parametrize(("function", "begins"), SIGNATURES, ids=lambda value: getattr(value, "__qualname__", ""))
def test_what_is_overridden_still_exists(function: Any, begins: str) -> None:
    assert str(inspect.signature(function)).startswith(begins)


def test_faust_still_goes_through_what_is_overridden() -> None:
    def calls(function: Any) -> str:
        return inspect.getsource(function)

    assert "self._new_offset(tp)" in calls(stock.Consumer._filter_committable_offsets)
    assert "await self._add_gap(" in inspect.getsource(stock)
    assert "consumer.perform_seek()" in calls(Recovery.on_recovery_completed)
    assert "callback = self.callback" in inspect.getsource(stock)
    assert "self.flow_active" in calls(stock.Consumer.getmany)
    assert "await self.verify_all_partitions_active()" in inspect.getsource(stock)


def test_stock_faust_still_needs_the_remedy() -> None:
    """If one of these fails, Faust has mended it, and that part of the remedy can go."""
    assert 'isolation_level: str = "read_uncommitted"' in inspect.getsource(
        driver.AIOKafkaConsumerThread._create_worker_consumer
    )
    app = faust.App("stock", broker="kafka://127.0.0.1:1", table_standby_replicas=0)
    app.topics._acking_topics.add("trades")
    for offset in (0, 1, 3, 7, 20):
        ack(app.consumer, message(offset))
    assert app.consumer._new_offset(TP0) == 2
