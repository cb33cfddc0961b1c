"""The three money agents without Kafka: raw records in, published records out, stored state in between.

The tasks, the control log and the decoders are the real ones; only topics, transactions and time are missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agents.execution import ExecutionAgent
from agents.portfolio import PortfolioAgent
from agents.signals import SignalsAgent
from agents.strategy.session import Calendar
from agents.strategy.settings import Settings
from agents.stream.batch import Batch, MessageBatch
from schemas.partitioning import partition_of
from tests.pipeline.invariants import check_invariants

Sent = tuple[str, str, bytes]
"""(topic, key, value) as an agent published it."""
NO_TIMESTAMP = -1
"""A Kafka timestamp of a record that has none; in ms or ns, as it comes out the same."""


@dataclass(frozen=True)
class Raw:
    """A record as Kafka would hand it over; also stands for confluent-kafka's message."""

    record_value: bytes | None
    record_key: bytes | None = None
    timestamp_ms: int = NO_TIMESTAMP
    at: tuple[str, int, int] = ("quotes", 0, 0)

    def topic(self) -> str:
        return self.at[0]

    def partition(self) -> int:
        return self.at[1]

    def offset(self) -> int:
        return self.at[2]

    def key(self) -> bytes | None:
        return self.record_key

    def value(self) -> bytes | None:
        return self.record_value

    def timestamp(self) -> tuple[int, int]:
        return 1, self.timestamp_ms

    def placed(self, topic: str, partition: int, offset: int) -> Raw:
        """The same record at its place in a topic."""
        return Raw(self.record_value, self.record_key, self.timestamp_ms, (topic, partition, offset))


class ControlsTopic:
    """The topic `controls`: what was written so far, and what compaction would leave of it."""

    def __init__(self) -> None:
        self.records: list[Raw] = []
        self.first = 0

    def write(self, key: str, value: bytes | None) -> int:
        """Append one record; its offset."""
        offset = len(self.records)
        self.records.append(Raw(value, key.encode()).placed("controls", 0, offset))
        return offset

    def compacted(self) -> list[Raw]:
        """The newest record of each key, tombstones gone."""
        newest = {record.record_key: record for record in self.records}
        return [r for r in self.records if newest[r.record_key] is r and r.record_value is not None]


class Follower:
    """Reads a `ControlsTopic` as `agents.stream.read.Follower` reads the real one."""

    def __init__(self, topic: ControlsTopic, compacted: bool) -> None:
        self._topic = topic
        self._pending = topic.compacted() if compacted else list(topic.records)
        self.position = 0
        self._taken = len(topic.records)

    def poll(self) -> Iterator[Raw]:
        """Everything written up to now."""
        self._pending += self._topic.records[self._taken :]
        self._taken = len(self._topic.records)
        pending, self._pending = self._pending, []
        for record in pending:
            self.position = record.offset() + 1
            yield record
        self.position = self._taken

    def catch_up(self, beat: Callable[[], None] = lambda: None) -> Iterator[Raw]:
        """The same: nothing is ever under way."""
        return self.poll()


@dataclass
class Lent:
    """What a runner lends an agent at its start."""

    topic: ControlsTopic
    compacted: bool
    beat: Callable[[], None] = lambda: None

    def follow(self, topic: Any) -> Follower:
        """A follower of `controls`."""
        assert topic.name == "controls"
        return Follower(self.topic, self.compacted)


@dataclass
class Stored:
    """State of one role and partition as of a commit: table, progress as JSON, counters, next offset."""

    table: dict[bytes, bytes] = field(default_factory=dict)
    progress: bytes | None = None
    counters: dict[str, int] = field(default_factory=dict)
    offset: int = 0


class Collected:
    """Outputs of one task and one batch."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.dead_letters: list[tuple[int, str, int]] = []

    def send(self, topic: Any, key: str, value: bytes, headers: Any = None) -> None:
        """Collect one record."""
        self.sent.append((topic.name, key, value))

    def send_many(self, topic: Any, records: Sequence[tuple[bytes, bytes]], headers: Any = None) -> None:
        """Collect records that share their headers."""
        self.sent += [(topic.name, key.decode(), value) for key, value in records]

    def dead_letter(self, batch: Batch, record: int, reason: str, rows: int = 1) -> None:
        """Collect (offset, reason, rows)."""
        self.dead_letters.append((batch.offset(record), reason, rows))


class Stage:
    """One role of one partition: its task, its input's end, its stored state."""

    def __init__(self, agent: Any, partition: int, partitions: int, stored: Stored) -> None:
        self.agent = agent
        self.partition = partition
        self.stored = stored
        self.offset = stored.offset
        self.task = agent.task(partition, partitions)
        progress = msgspec.json.decode(stored.progress) if stored.progress is not None else None
        self.task.load(dict(stored.table), progress, dict(stored.counters))

    def process(self, records: Iterable[Raw]) -> Collected:
        """Give the task one batch."""
        placed = [
            record.placed(self.agent.source.name, self.partition, self.offset + i) for i, record in enumerate(records)
        ]
        out = Collected()
        if placed:
            self.task.process(MessageBatch(placed), out)  # type: ignore[arg-type]
            self.offset += len(placed)
        return out

    def store(self, sent: Iterable[Sent]) -> None:
        """What a commit leaves in the topics. sent: the outputs of the transaction."""
        for key, row, _headers in self.task.changed_rows():
            self.stored.table[key] = row
        for topic, key, value in sent:
            if topic == self.agent.table.name:
                self.stored.table[key.encode()] = value
        progress = self.task.progress()
        self.stored.progress = msgspec.json.encode(progress) if progress is not None else None
        self.stored.counters = dict(self.task.counters())
        self.stored.offset = self.offset


class Pipeline:
    """All three roles over some partitions, committed on request, crashed on request.

    calendar: sessions in place of those that `settings.session` names.
    """

    ROLES = 3

    def __init__(self, settings: Settings, partitions: int = 1, calendar: Calendar | None = None) -> None:
        self.settings = settings
        self.partitions = partitions
        self.controls = ControlsTopic()
        self._calendar = calendar
        self._stored = {(role, p): Stored() for role in range(self.ROLES) for p in range(partitions)}
        self.committed: list[Sent] = []
        self.dead_letters: list[tuple[int, str, int]] = []
        self._open: dict[tuple[int, int], list[Sent]] = defaultdict(list)
        self._open_dead_letters: list[tuple[int, str, int]] = []
        self.start()

    def start(self, compacted: bool = False) -> None:
        """A new process: new agents and tasks, from the stored state."""
        signals = SignalsAgent(self.settings)
        if self._calendar is not None:
            signals.calendar = self._calendar
        self.agents = [signals, ExecutionAgent(self.settings), PortfolioAgent()]
        for agent in self.agents:
            agent.start(Lent(self.controls, compacted))  # type: ignore[arg-type]
        self.take_anew()

    def take_anew(self) -> None:
        """What the runner does after an aborted transaction: the same agents, new tasks from the stored state."""
        self._open.clear()
        self._open_dead_letters = []
        self._stages = {
            (role, p): Stage(self.agents[role], p, self.partitions, self._stored[role, p])
            for p in range(self.partitions)
            for role in range(self.ROLES)
        }

    def crash(self, compacted: bool = False) -> None:
        """Lose everything since the last commit, and start again."""
        self.start(compacted)

    def process(self, records: Iterable[Raw], partition: int = 0) -> None:
        """One batch of quotes of a partition through all three roles."""
        batch = list(records)
        for role, topic in enumerate(("signals", "executions", "")):
            stage = self._stages[role, partition]
            out = stage.process(batch)
            self._open[role, partition] += out.sent
            self._open_dead_letters += out.dead_letters
            batch = [Raw(value, key.encode()) for name, key, value in out.sent if name == topic]
        check_invariants(self._stages[0, partition].task._desk)

    def commit(self) -> None:
        """Publish and store what was processed."""
        for (role, partition), sent in sorted(self._open.items()):
            self._stages[role, partition].store(sent)
            self.committed += sent
        self.dead_letters += self._open_dead_letters
        self._open.clear()
        self._open_dead_letters = []

    def published(self, topic: str) -> list[dict[str, Any]]:
        """Committed records of a topic, decoded."""
        return [msgspec.json.decode(value) for name, _key, value in self.committed if name == topic]

    def latest(self, topic: str) -> dict[str, dict[str, Any]]:
        """The latest committed record of each key of a topic or table of JSON rows."""
        rows = {key: msgspec.json.decode(value) for name, key, value in self.committed if name == topic}
        for role, _partition in self._stored:
            if self.agents[role].table.name == topic:
                rows |= {k.decode(): msgspec.json.decode(v) for k, v in self._stored[role, _partition].table.items()}
        return rows

    def counters(self) -> dict[str, int]:
        """Committed counters of the signals agent, added up over the partitions."""
        total: dict[str, int] = defaultdict(int)
        for partition in range(self.partitions):
            for name, count in self._stored[0, partition].counters.items():
                total[name] += count
        return total


def quote_json(symbol: str, ts: int, bid: float, bid_size: float, ask: float, ask_size: float) -> bytes:
    """A quote as a producer with a plain JSON library writes it."""
    quote = {"symbol": symbol, "ts": ts, "bid": bid, "bid_size": bid_size, "ask": ask, "ask_size": ask_size}
    return msgspec.json.encode(quote)


def clock_json(ts: int, feed: str = "", end: bool = False) -> bytes:
    """A clock record."""
    return msgspec.json.encode({"clock": ts, "feed": feed, "end": end})


def by_partition(symbols: Sequence[str], partitions: int) -> Mapping[str, int]:
    """Partition of each symbol."""
    return {symbol: partition_of(symbol, partitions) for symbol in symbols}
