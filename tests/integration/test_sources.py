"""The two ways to take records from a broker give the same ones, in order, in batches of the size asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import TopicPartition

from agents.stream import clients, topics
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
