"""Sends quotes of your own: one CSV line each on stdin, as `AAPL,187.10,300,187.12,200` (bid, its size, ask, its size).

    python write_quotes.py BOOTSTRAP [PREFIX] < quotes.csv

Clocks go out with the quotes: while stdin is silent, so are they. Needs confluent-kafka alone, nothing of this project.
"""

import json
import sys
import time

from confluent_kafka import KafkaException, Producer

if len(sys.argv) < 2:
    sys.exit(__doc__)
bootstrap, prefix = sys.argv[1], (*sys.argv[2:], "")[0]
topic = f"{prefix}quotes"
producer = Producer(
    {
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "message.timeout.ms": 30_000,
        "partitioner": "murmur2_random",  # the rule of Java's client: a quote in another partition is set aside
    }
)
try:
    described = producer.list_topics(topic, timeout=10).topics[topic]
except KafkaException as failure:
    sys.exit(f"{bootstrap} does not answer: {failure.args[0].str()}")
if described.error is not None:
    sys.exit(f"{topic}: {described.error.str()}")
partitions = len(described.partitions)
failures = []


def note(error: object, _: object) -> None:
    """Keep what was not written."""
    if error is not None:
        failures.append(error)


def send(record: dict, key: str | None = None, partition: int = -1) -> None:
    """Send one record as soon as there is room for it; what becomes of it is known later."""
    while len(producer) >= 50_000:
        producer.poll(0.1)
    producer.produce(topic, json.dumps(record), key, partition, note)
    producer.poll(0)


def send_clock(ts: int, end: bool = False) -> None:
    """Promise every partition that no quote of this feed before ts follows: silent symbols decide by it."""
    for partition in range(partitions):
        send({"clock": ts, "feed": "example", "end": end}, partition=partition)


ts = clock = 0
try:
    for line in sys.stdin:
        symbol, *prices = line.strip().split(",")
        ts = max(ts, time.time_ns())
        if ts // 1_000_000_000 > clock:
            clock = ts // 1_000_000_000
            send_clock(clock * 1_000_000_000)
        names = ("bid", "bid_size", "ask", "ask_size")
        send({"symbol": symbol, "ts": ts, **dict(zip(names, map(float, prices), strict=True))}, symbol)
except KeyboardInterrupt:
    pass
finally:
    if ts:  # a feed that has not closed holds back the clock of all others
        send_clock(ts, end=True)
    producer.flush()
if failures:
    sys.exit(f"{len(failures)} records were not written: {failures[0].str()}")
