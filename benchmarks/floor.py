"""Bare consumption of a topic in a process of its own: what no reader with the same client can go below.

`python -m benchmarks.floor consume|librdkafka BOOTSTRAP TOPIC PARTITIONS PROGRESS`, until it is ended.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from agents.stream import clients, librdkafka
from agents.stream.config import KafkaConfig

BATCH = 10_000
_WAIT_SECONDS = 0.01
_TELL_SECONDS = 0.02


def by_consume(consumer: Consumer, positions: list[TopicPartition]) -> Iterator[int]:
    """`consume` alone: the messages are made and dropped. Yields how many came."""
    consumer.assign(positions)
    while True:
        yield len(consumer.consume(BATCH, _WAIT_SECONDS))


def by_batch_call(consumer: Consumer, positions: list[TopicPartition]) -> Iterator[int]:
    """`rd_kafka_consume_batch_queue`, and each message given back: what a program in C would do."""
    library = librdkafka.load()
    handle = library.handle(consumer)
    queue = library.queue_new(handle)
    consumer.assign(positions)
    for position in positions:
        partition = library.queue_get_partition(handle, position.topic.encode(), position.partition)
        library.queue_forward(partition, queue)
        library.queue_destroy(partition)
    messages = np.zeros(BATCH, np.int64)
    place = messages.ctypes.data_as(ctypes.c_void_p)
    while True:
        # what had reached the consumer's own queue before its partitions were redirected
        strays = sum(message.error() is None for message in consumer.consume(BATCH, 0))
        count = max(0, library.consume_batch_queue(queue, round(1000 * _WAIT_SECONDS), place, BATCH))
        librdkafka.destroy(messages[:count], library.message_destroy)
        yield strays + count


KINDS = {"consume": by_consume, "librdkafka": by_batch_call}


def main(kind: str, bootstrap: str, topic: str, partitions: str, progress: str) -> None:
    """Read until SIGTERM; write to a file how many records have been taken."""
    consumer = clients.consumer(KafkaConfig(bootstrap), group="floor", instance="0")
    positions = [TopicPartition(topic, partition, 0) for partition in range(int(partitions))]
    taken, told = 0, time.monotonic()
    for count in KINDS[kind](consumer, positions):
        taken += count
        if time.monotonic() - told > _TELL_SECONDS:
            fresh = Path(progress + ".new")
            fresh.write_text(str(taken))
            fresh.replace(progress)
            told = time.monotonic()


if __name__ == "__main__":
    main(*sys.argv[1:])
