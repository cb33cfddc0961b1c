"""What ``quotes`` holds already: how far in event time, so that a rerun on used topics can be refused."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from agents.feeds.quotes import FUTURE_NS
from agents.stream.config import KafkaConfig
from agents.stream.errors import BadConfiguration
from agents.stream.tail import last_records
from schemas.frames import FIRST_BYTE, FrameError, decode_frame
from schemas.times import rfc3339
from schemas.topics import QUOTES

_LAST_RECORDS = 200  # of a partition: enough that some of them are sound


class _Stamped(msgspec.Struct):
    ts: int | None = None
    clock: int | None = None


_stamped = msgspec.json.Decoder(_Stamped)


def latest_ts(config: KafkaConfig) -> int | None:
    """The largest plausible ts among the last records of every partition of quotes, None if there is none.

    A ts beyond its record's Kafka timestamp is no more believed here than by the agents.
    Raises NoBroker or MissingTopics.
    """
    latest: int | None = None
    for message in last_records(config, QUOTES, _LAST_RECORDS):
        believed = message.timestamp()[1] * 1_000_000 + FUTURE_NS
        for ts in _times(message.value()):
            if ts <= believed and (latest is None or ts > latest):
                latest = ts
    return latest


def refuse_rerun(config: KafkaConfig, first_ts: int) -> None:
    """Raises BadConfiguration when quotes that begin at first_ts would go back behind those the topic holds."""
    held = latest_ts(config)
    if held is not None and first_ts < held:
        raise BadConfiguration(
            f"{config.name(QUOTES.name)} already holds quotes up to {rfc3339(held)}, and these begin at "
            f"{rfc3339(first_ts)}: set another MM_PREFIX, or give only files that begin later"
        )


def _times(value: bytes | None) -> Iterable[int]:
    if not value:
        return ()
    if value[0] == FIRST_BYTE:
        try:
            return [int(ts.max()) for _, _, ts, _ in decode_frame(value) if len(ts)]
        except FrameError:
            return ()
    try:
        stamped = _stamped.decode(value)
    except (ValueError, RecursionError):
        return ()
    return [ts for ts in (stamped.ts, stamped.clock) if ts is not None]
