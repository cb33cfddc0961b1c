"""What the auditor read: every topic of one run, as it is for any reader of committed records."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from agents.chaos.due import Controls, Marks, Partition
from agents.stream.config import KafkaConfig
from agents.stream.groups import end_offsets, group_offsets
from agents.stream.watch import read_whole

SOURCES = {"signals": "quotes", "execution": "signals", "portfolio": "executions"}
"""The input of each role."""

Rows = list[dict[str, Any]]


@dataclass
class Evidence:
    """The records of one run. Lists are in the order of the topic, partition by partition."""

    partitions: dict[int, Partition] = field(default_factory=dict)
    quotes_digest: str = ""
    foreign_controls: list[str] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)
    signals: Rows = field(default_factory=list)
    executions: Rows = field(default_factory=list)
    trades: Rows = field(default_factory=list)
    ticks: dict[str, Marks] = field(default_factory=dict)
    preds: dict[str, Marks] = field(default_factory=dict)
    positions: dict[str, dict[str, Any]] = field(default_factory=dict)
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    pnl: dict[str, dict[str, Any]] = field(default_factory=dict)
    pnl_rows: Counter[tuple[str, int]] = field(default_factory=Counter)
    checkpoints: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    group: dict[tuple[str, int], int] = field(default_factory=dict)
    dead: list[tuple[str, int, int]] = field(default_factory=list)
    event_ids: Counter[tuple[str, str]] = field(default_factory=Counter)


def collect(config: KafkaConfig, published: Sequence[tuple[bytes, bytes]]) -> Evidence:
    """Read every topic of a run that has come to rest. Raises NoBroker or MissingTopics.

    published: key and value of every control in the order of publication; by now the topic has only the newest of each
    key, while the agents had to act on all of them.
    """
    found = Evidence()
    controls = Controls()
    for version, (key, value) in enumerate(published):
        controls.add(version, key.decode(), orjson.loads(value))
    found.foreign_controls = [
        f"controls at {message.offset()}"
        for message in read_whole(config, "controls")
        if (message.key(), message.value()) != tuple(published[message.offset()])
    ]
    _read_quotes(config, found, controls)
    found.signals = list(_rows(config, "signals", found.event_ids))
    found.executions = list(_rows(config, "executions", found.event_ids))
    found.trades = list(_rows(config, "trades", found.event_ids))
    found.ticks, found.preds = _marks(config, "ticks_bid_ask"), _marks(config, "preds")
    found.positions = _table(config, "positions")
    found.orders = _table(config, "orders")
    for row in _rows(config, "pnl"):
        found.pnl[row["symbol"]] = row
        found.pnl_rows[row["symbol"], row["ts"]] += 1
    for row in _table(config, "checkpoints").values():
        found.checkpoints[row["role"], row["partition"]] = row
    for role, source in SOURCES.items():
        for partition, offset in group_offsets(config, role, source).items():
            found.group[role, partition] = offset
    for message in read_whole(config, "dead-letters"):
        headers = {name: value.decode() for name, value in message.headers() or []}
        found.dead.append((headers["mm_topic"], int(headers["mm_partition"]), int(headers["mm_offset"])))
    return found


def digest(rows: Iterable[dict[str, Any]]) -> str:
    """A checksum of every field of rows, whatever their order."""
    lines = sorted(orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in rows)
    return hashlib.sha256(b"\n".join(lines)).hexdigest()[:16]


def _read_quotes(config: KafkaConfig, found: Evidence, controls: Controls) -> None:
    digests: dict[int, Any] = defaultdict(hashlib.sha256)
    found.ends = end_offsets(config, "quotes")
    found.partitions = {partition: Partition(controls) for partition in found.ends}
    for message in read_whole(config, "quotes"):
        partition, value = message.partition(), message.value()
        digests[partition].update(value or b"")
        found.partitions[partition].take(message.offset(), message.timestamp()[1] * 1_000_000, value)
    found.quotes_digest = "-".join(digests[partition].hexdigest()[:4] for partition in sorted(digests))


def _rows(config: KafkaConfig, topic: str, ids: Counter[tuple[str, str]] | None = None) -> Iterator[dict[str, Any]]:
    for message in read_whole(config, topic):
        if ids is not None:
            ids[topic, next(value.decode() for name, value in message.headers() if name == "ce_id")] += 1
        yield orjson.loads(message.value())


def _marks(config: KafkaConfig, topic: str) -> dict[str, Marks]:
    marks: dict[str, Marks] = defaultdict(Marks)
    for row in _rows(config, topic):
        marks[row["symbol"]].add(row["ts"], row["bid"], row["ask"])
    return dict(marks)


def _table(config: KafkaConfig, topic: str) -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = {}
    for message in read_whole(config, topic):
        key = message.key().decode()
        if message.value() is None:
            table.pop(key, None)
        else:
            table[key] = orjson.loads(message.value())
    return table
