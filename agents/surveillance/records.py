"""Records as they come from Kafka: decoded and checked, or garbage with a reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from schemas.partitioning import partition_of
from schemas.times import EARLIEST_TS
from schemas.topics import Topic

_FUTURE_NS = 3_600_000_000_000
_LARGEST = 1e15


class GarbageError(ValueError):
    """A record that is not what its topic holds; the message says why."""


def decoder(topic: Topic) -> Callable[[Any, int], tuple[str, Any]]:
    """A function from a message and the number of partitions to the symbol and the record.

    It raises GarbageError for a record that is malformed, in another symbol's partition, of an impossible time (ends
    more than an hour after the message was written), or with a number that no desk has: such a record could spoil the
    windows of all that come after it.
    """
    assert topic.record is not None
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(topic.record).decode

    def checked(message: Any, partitions: int) -> tuple[str, Any]:
        try:
            record: Any = decode(message.value)
        except (ValueError, RecursionError) as error:
            raise GarbageError(f"malformed: {error}") from error
        if message.key != record.symbol.encode() or partition_of(record.symbol, partitions) != message.partition:
            raise GarbageError("misplaced: key and partition are not those of the symbol")
        latest = int(message.timestamp * 1000) * 1_000_000 + _FUTURE_NS
        for name, value in zip(record.__struct_fields__, msgspec.structs.astuple(record), strict=True):
            if isinstance(value, float) and not math.fabs(value) < _LARGEST:
                raise GarbageError(f"implausible: {name} is {value}")
            if name in ("ts", "quote_ts") and not EARLIEST_TS <= value <= latest:
                raise GarbageError(f"implausible: {name} is {value}")
        return record.symbol, record

    return checked


def dead_letter_text(headers: Iterable[tuple[str, bytes]] | None) -> str:
    """Who set a record aside and why, from its headers."""
    found = {name: value.decode(errors="replace") for name, value in headers or () if value is not None}
    return (
        f"from {found.get('mm_agent', 'an unknown agent')}, {found.get('mm_topic', 'an unknown topic')} "
        f"offset {found.get('mm_offset', '?')}: {found.get('mm_reason', 'no reason given')[:200]}"
    )
