"""Garbage is told from records before it can spoil a table."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agents.surveillance.records import GarbageError, decoder
from schemas.partitioning import partition_of
from schemas.times import NS
from schemas.topics import EXECUTIONS, TRADES, Topic
from tests.surveillance.worker import T0, execution, trade

GOOD = msgspec.json.encode(trade("AAPL", 0))


def message(value: bytes, key: bytes | None = b"AAPL", partition: int | None = None) -> Any:
    at = partition_of("AAPL", 4) if partition is None else partition
    return SimpleNamespace(value=value, key=key, partition=at, timestamp=T0 / NS, topic="trades", offset=7)


def test_a_good_record_is_decoded() -> None:
    assert decoder(TRADES)(message(GOOD), 4) == ("AAPL", trade("AAPL", 0))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "malformed"),
        (b"not json", "malformed"),
        (b"[1]", "malformed"),
        (b"\xff\xfe", "malformed"),
        (GOOD.replace(b"AAPL", b"\xff\xfeA"), "malformed"),
        (b'{"symbol":' * 100_000, "malformed"),
        (GOOD.replace(b'"BUY"', b'"HOLD"'), "malformed"),
        (GOOD.replace(b'"price":1.0', b'"price":1e400'), "malformed"),
        (GOOD.replace(b'"price":1.0', b'"price":1e300'), "implausible: price"),
        (msgspec.json.encode(trade("AAPL", 3700)), "implausible: ts"),
        (msgspec.json.encode(msgspec.structs.replace(trade("AAPL", 0), ts=-5)), "implausible: ts"),
        (msgspec.json.encode(trade("BAC", 0)), "misplaced"),
    ],
)
def test_garbage_has_a_reason(value: bytes, reason: str) -> None:
    with pytest.raises(GarbageError, match=reason):
        decoder(TRADES)(message(value), 4)


@pytest.mark.parametrize("misplaced", [{"key": b"BAC"}, {"key": None}, {"partition": 1 - partition_of("AAPL", 4) % 2}])
def test_a_record_in_the_wrong_place_is_garbage(misplaced: dict[str, Any]) -> None:
    with pytest.raises(GarbageError, match="misplaced"):
        decoder(TRADES)(message(GOOD, **misplaced), 4)


def test_the_quotes_time_of_an_execution_is_checked_too() -> None:
    topic: Topic = EXECUTIONS
    value = msgspec.json.encode(execution("AAPL", T0, quote_ts=10**30))
    with pytest.raises(GarbageError):
        decoder(topic)(message(value), 4)
