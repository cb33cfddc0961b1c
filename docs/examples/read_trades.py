"""Prints trades as JSON lines: the history first, then every new one until Ctrl-C.

    python read_trades.py BOOTSTRAP [PREFIX]

Needs confluent-kafka alone, nothing of this project.
"""

import sys

from confluent_kafka import Consumer, KafkaException

if len(sys.argv) < 2:
    sys.exit(__doc__)
bootstrap, prefix = sys.argv[1], (*sys.argv[2:], "")[0]
consumer = Consumer(
    {
        "bootstrap.servers": bootstrap,
        "group.id": f"{prefix}my-trades",
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",  # uncommitted trades may never have happened
        "enable.auto.offset.store": False,  # else a crash could lose the trade that is being printed
    }
)
consumer.subscribe([f"{prefix}trades"])
try:
    while True:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error():
            raise KafkaException(message.error())
        print(message.value().decode(), flush=True)
        consumer.store_offsets(message)
except (KeyboardInterrupt, BrokenPipeError):
    pass
finally:
    consumer.close()
