"""Sends quotes of your own: one CSV line each on stdin, as `AAPL,187.10,300,187.12,200` (bid, its size, ask, its size).

    python write_quotes.py BOOTSTRAP [PREFIX] < quotes.csv

Needs confluent-kafka alone, nothing of this project.
"""

import json
import sys
import time

from confluent_kafka import Producer

if len(sys.argv) < 2:
    sys.exit(__doc__)
bootstrap, prefix = sys.argv[1], (*sys.argv[2:], "")[0]
topic = f"{prefix}quotes"
producer = Producer(
    {
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "partitioner": "murmur2_random",  # the rule of Java's client: a quote in another partition is set aside
    }
)
partitions = len(producer.list_topics(topic, timeout=10).topics[topic].partitions)


def send_clock(ts: int, end: bool = False) -> None:
    """Promise every partition that no quote of this feed before ts follows: silent symbols decide by it."""
    for partition in range(partitions):
        producer.produce(topic, json.dumps({"clock": ts, "feed": "example", "end": end}), partition=partition)


ts = clock = 0
for line in sys.stdin:
    symbol, *prices = line.strip().split(",")
    ts = max(ts, time.time_ns())
    if ts // 1_000_000_000 > clock:
        clock = ts // 1_000_000_000
        send_clock(clock * 1_000_000_000)
    names = ("bid", "bid_size", "ask", "ask_size")
    quote = {"symbol": symbol, "ts": ts, **dict(zip(names, map(float, prices), strict=True))}
    producer.produce(topic, json.dumps(quote), symbol)
    producer.poll(0)
if ts:
    send_clock(ts, end=True)
sys.exit(1 if producer.flush(10) else 0)
