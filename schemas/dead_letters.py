"""A record that could not be used, as it is set aside: whole, or cut so that the usual limits of brokers admit it."""

from __future__ import annotations

import time
from typing import NamedTuple

from schemas.times import rfc3339

MAX_VALUE_BYTES = 512 << 10
MAX_KEY_BYTES = 64 << 10
_MAX_REASON_CHARACTERS = 1_000


class Origin(NamedTuple):
    """Where a record was read: the topic's full name, its partition and its offset there."""

    topic: str
    partition: int
    offset: int


class DeadLetter(NamedTuple):
    """What is written to `dead-letters`."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


def dead_letter(origin: Origin, key: bytes | None, value: bytes | None, reason: str, agent: str) -> DeadLetter:
    """The record with headers that say where it was, why it could not be used, who says so, and what was cut off."""
    headers = [
        ("mm_topic", origin.topic.encode()),
        ("mm_partition", str(origin.partition).encode()),
        ("mm_offset", str(origin.offset).encode()),
        ("mm_reason", reason[:_MAX_REASON_CHARACTERS].encode(errors="backslashreplace")),
        ("mm_agent", agent.encode()),
        ("mm_time", rfc3339(time.time_ns()).encode()),
    ]
    if value is not None and len(value) > MAX_VALUE_BYTES:
        headers.append(("mm_truncated", str(len(value)).encode()))
        value = value[:MAX_VALUE_BYTES]
    if key is not None and len(key) > MAX_KEY_BYTES:
        headers.append(("mm_key_truncated", str(len(key)).encode()))
        key = key[:MAX_KEY_BYTES]
    return DeadLetter(key, value, headers)
