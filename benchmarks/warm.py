"""A broker that has been up for a while, as a user's is: its Java code compiled, its files open."""

from __future__ import annotations

import time

from confluent_kafka import TopicPartition

from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from schemas.topics import TRADES

_PARTITIONS, _RECORDS = 20, 100
_VALUE = bytes(200)
_CALL_SECONDS = 30.0


def warm(config: KafkaConfig, seconds: float) -> int:
    """Commit transactions over many partitions, read them back and commit offsets, for so long; how many there were.

    A broker that has just started compiles its code beside the work for its first thousand transactions: one of 20
    partitions takes 50 ms of its CPU time at first, and 12 ms in the end.
    """
    admin = clients.admin(config)
    topics.create(admin, config, [TRADES], _PARTITIONS, 1)
    topic = config.name(TRADES.name)
    reader = clients.reader(config)
    producer = clients.transactional_producer(config, "warm")
    try:
        producer.init_transactions(_CALL_SECONDS)
        reader.assign([TopicPartition(topic, partition, 0) for partition in range(_PARTITIONS)])
        group = reader.consumer_group_metadata()
        end = time.monotonic() + seconds
        done = 0
        while time.monotonic() < end:
            producer.begin_transaction()
            for record in range(_RECORDS):
                producer.produce(topic, _VALUE, b"key", record % _PARTITIONS)
            producer.send_offsets_to_transaction([TopicPartition(topic, 0, done + 1)], group, _CALL_SECONDS)
            producer.commit_transaction(_CALL_SECONDS)
            done += 1
            reader.consume(10 * _RECORDS, 0)
    finally:
        reader.close()
        topics.delete(admin, [topic])
    return done
