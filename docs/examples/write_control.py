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

producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "message.timeout.ms": 10_000})
told = []  # an exception in the callback itself would not come through as what it is
producer.produce(f"{prefix}controls", json.dumps(control), symbol, on_delivery=lambda *outcome: told.append(outcome))
producer.flush()
for error, message in told:
    if error is not None:
        sys.exit(f"not written to {bootstrap}: {error.str()}")
    print(f"version {message.offset()}")
