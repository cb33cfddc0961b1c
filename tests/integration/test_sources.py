"""The two ways to take records from a broker give the same ones, in order, in batches of the size asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from confluent_kafka import TopicPartition

from agents.stream import clients, librdkafka, queue_source, topics
from agents.stream.batch import ConsumeSource
from agents.stream.queue_source import QueueSource
from schemas.topics import QUOTES
from tests.integration.pipeline import Pipeline, wait_until

BATCH_RECORDS = 50
RECORDS = 700


@pytest.mark.parametrize("kind", ["queue", "consume"])
@pytest.mark.parametrize("fetched_before", [False, True], ids=["fetched", "fetched before"])
def test_every_record_comes_once_in_order_and_in_small_batches(
    pipeline: Callable[..., Pipeline], kind: str, fetched_before: bool
) -> None:
    """fetched before: the client has records in the queue of its own already when the source takes the partition."""
    desk = pipeline(partitions=2)
    desk.publish(QUOTES.name, [(n % 2, None, f"{n}".encode()) for n in range(2 * RECORDS)])
    name = desk.config.name(QUOTES.name)
    assert topics.ends(desk.admin, name, range(2)) == {0: RECORDS, 1: RECORDS}
    consumer = clients.consumer(desk.config, group="sources", instance="0")
    positions = [TopicPartition(name, partition, 0) for partition in range(2)]
    source = QueueSource(consumer, name, BATCH_RECORDS) if kind == "queue" else ConsumeSource(consumer, BATCH_RECORDS)
    found: dict[int, list[bytes | None]] = {0: [], 1: []}

    def take() -> bool:
        for batch in source.poll(0.1):
            assert len(batch) <= BATCH_RECORDS
            assert [batch.offset(record) for record in range(len(batch))] == list(
                range(batch.first_offset, batch.next_offset)
            )
            assert batch.first_offset == len(found[batch.partition])
            found[batch.partition] += [batch.value(record) for record in range(len(batch))]
        return sum(map(len, found.values())) == 2 * RECORDS

    try:
        if fetched_before:
            consumer.incremental_assign(positions)
        else:
            source.assign(positions)
        wait_until(take, "all records")
    finally:
        source.close()
        consumer.close()
    assert found == {partition: [f"{n}".encode() for n in range(partition, 2 * RECORDS, 2)] for partition in range(2)}


@pytest.mark.parametrize("many", [1, BATCH_RECORDS + 1], ids=["beside", "in place"])
def test_every_message_is_given_back_once_and_before_the_source_is_closed(
    pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """beside: the messages of a batch are given back when the next ones have been taken already."""
    given_back: list[list[int]] = []
    taken_since = threading.Semaphore(0)
    destroy = librdkafka.destroy

    def destroy_late(messages: np.ndarray, message_destroy: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            assert taken_since.acquire(timeout=30)
        given_back.append(messages.tolist())
        destroy(messages, message_destroy)

    monkeypatch.setattr(queue_source, "_MANY_MESSAGES", many)
    monkeypatch.setattr(librdkafka, "destroy", destroy_late)
    desk = pipeline(partitions=1)
    desk.publish(QUOTES.name, [(0, None, b"%d" % n) for n in range(RECORDS)])
    name = desk.config.name(QUOTES.name)
    consumer = clients.consumer(desk.config, group="sources", instance="0")
    source = QueueSource(consumer, name, BATCH_RECORDS)
    taken: list[list[int]] = []
    found: list[bytes | None] = []

    def take() -> bool:
        batches = source.poll(0.1)
        if taken:
            taken_since.release()
        for batch in batches:
            assert isinstance(batch, queue_source.QueueBatch)
            taken.append(batch.messages.tolist())
            found.extend(batch.value(record) for record in range(len(batch)))
        return len(found) == RECORDS

    try:
        source.assign([TopicPartition(name, 0, 0)])
        wait_until(take, "all records")
    finally:
        threading.Timer(0.3, taken_since.release).start()  # the last batch is given back while the source closes
        source.close()
        given_back_by_then = list(given_back)
        consumer.close()
    assert found == [b"%d" % n for n in range(RECORDS)]
    assert given_back_by_then == taken
