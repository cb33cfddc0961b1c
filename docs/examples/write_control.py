"""Changes the position limit and the state of one symbol.

    python write_control.py BOOTSTRAP SYMBOL MAX_POSITION_DOLLARS [STATE] [PREFIX]

STATE: ACTIVE, REDUCING, CLOSING or HALTED. Needs confluent-kafka alone, nothing of this project.
"""

import json
import sys

from confluent_kafka import Producer

if len(sys.argv) < 4:
    sys.exit(__doc__)
bootstrap, symbol, dollars, *rest = sys.argv[1:]
state = rest[0] if rest else "ACTIVE"
prefix = rest[1] if len(rest) > 1 else ""
# A whole record, never a patch: what is left out gets its default, not its old value.
control = {"max_position_dollars": float(dollars), "lot_shares": 100, "state": state}


def tell(error: object, message: object) -> None:
    """Say what became of the record."""
    if error is not None:
        sys.exit(f"not written: {error}")
    print(f"version {message.offset()}")


producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
producer.produce(f"{prefix}controls", json.dumps(control), symbol, on_delivery=tell)
if producer.flush(10):
    sys.exit(f"not written: {bootstrap} does not answer")
