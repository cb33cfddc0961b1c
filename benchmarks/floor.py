"""Bare consumption of `quotes` in a process of its own: what no reader with the same client can go below."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from confluent_kafka import TopicPartition

from agents.stream import clients
from agents.stream.batch import ConsumeSource, Source
from agents.stream.config import KafkaConfig
from agents.stream.queue_source import QueueSource
from schemas.topics import QUOTES

BATCH = 10_000


class _Consume(ConsumeSource):
    """`consume` alone: the messages are made and dropped."""

    def poll(self, timeout: float) -> list[object]:  # type: ignore[override]
        return self._consumer.consume(BATCH, timeout)


def main(kind: str, partitions: int, progress: Path) -> None:
    """Read until SIGTERM; write to a file how many records have been taken."""
    config = KafkaConfig(os.environ["MM_BOOTSTRAP"], os.environ["MM_PREFIX"])
    consumer = clients.consumer(config, group=f"floor-{os.getpid()}", instance="0")
    topic = config.name(QUOTES.name)
    source: Source = _Consume(consumer, BATCH) if kind == "consume" else QueueSource(consumer, topic, BATCH)
    source.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    taken = 0
    while True:
        for batch in source.poll(0.1):
            taken += len(batch) if kind != "consume" else 1
        progress.write_text(str(taken))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
