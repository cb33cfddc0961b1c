"""Carrying a desk's topics over to another prefix, so that nobody can take up what is carried only in part.

Every partition of the new `checkpoints` holds a record of the role `repartition` first, which keeps agents from
starting (`agents.stream.restore`) until the last transaction says that all is there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, ConfigSource, ConsumerGroupDescription, ResourceType

from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import BadConfiguration, NoBroker, StreamError
from agents.stream.groups import ASK_SECONDS, answer_of, delete_group
from agents.stream.read import read_until
from agents.stream.restore import CARRYING_ROLE, Carried, checkpoint_key
from schemas.records import Checkpoint
from schemas.times import rfc3339
from schemas.topics import CHECKPOINTS, TOPICS, Topic

_SECONDS = 30.0
_BETWEEN_SECONDS = 0.1
_FLUSH_SECONDS = 120.0
_FILLER = b"filler"


@dataclass(frozen=True)
class Row:
    """One record to be written: topic, partition, key, value, headers, Kafka's timestamp in ms (0: now)."""

    topic: Topic
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] | None = None
    timestamp: int = 0


def members(config: KafkaConfig, roles: Iterable[str]) -> dict[str, int]:
    """How many members each role's group has, roles without any left out. Raises NoBroker."""
    admin = clients.admin(config)
    names = {config.name(role): role for role in roles}

    def ask() -> dict[str, ConsumerGroupDescription]:
        futures = admin.describe_consumer_groups(list(names), request_timeout=ASK_SECONDS)
        return {name: future.result() for name, future in futures.items()}

    try:
        groups = answer_of(ask)
    except KafkaException as error:
        raise topics.no_broker(config, error) from error
    return {
        names[name]: len(group.members)
        for name, group in groups.items()
        if group.members and group.state is not ConsumerGroupState.DEAD
    }


def read_span(config: KafkaConfig, topic: Topic, partition: int, first: int, end: int) -> Iterator[Message]:
    """Committed records of one partition from an offset to before another."""
    yield from read_until(config, {(config.name(topic.name), partition): (first, end)})


def prepare(old: KafkaConfig, new: KafkaConfig, partitions: int, roles: Iterable[str]) -> None:
    """Create all topics under the new prefix, as the old ones are set; what a broken-off try has left goes first.

    Raises BadConfiguration where the new prefix is in use.
    """
    admin = clients.admin(new)
    present = [name for name in map(new.name, TOPICS) if name in topics.partition_counts(admin, new)]
    if present:
        _refuse_unless_broken_off(old, new, present)
        topics.delete(admin, present)
    for role in roles:
        delete_group(new, role)
    wanted = _as_set(admin, old)
    replication = _replication(admin, old)
    mark = [topic for topic in wanted if topic.name == CHECKPOINTS.name]
    topics.create(admin, new, mark, partitions, replication)
    write(new, marks(old, partitions, complete=False))
    topics.create(admin, new, wanted, partitions, replication)


def _refuse_unless_broken_off(old: KafkaConfig, new: KafkaConfig, present: Sequence[str]) -> None:
    listed = f"{present[0]} exists already" if len(present) == 1 else f"{len(present)} topics exist already"
    refusal = BadConfiguration(f"{listed} under {new.prefix!r}: choose a prefix that nobody uses")
    name = new.name(CHECKPOINTS.name)
    if name not in present:
        raise refusal
    admin = clients.admin(new)
    count = topics.partition_counts(admin, new)[name]
    ends = topics.ends(admin, name, range(count))
    records = list(read_until(new, {(name, p): (0, end) for p, end in ends.items()}))
    if not any(ends.values()) and present == [name]:
        return  # broken off before its first record
    found = [msgspec.json.decode(m.value(), type=Checkpoint) for m in records if m.value() is not None]
    if not found or any(each.role != CARRYING_ROLE for each in found):
        raise refusal
    carried = msgspec.convert(found[-1].progress, Carried)
    if carried.complete or carried.source != old.prefix:
        raise refusal


def _as_set(admin: AdminClient, old: KafkaConfig) -> list[Topic]:
    """All topics with the settings that the old ones have by now."""
    names = {old.name(topic.name): topic for topic in TOPICS.values()}
    asked = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    found = []
    for resource, future in admin.describe_configs(asked, request_timeout=_SECONDS).items():
        own = {
            name: entry.value
            for name, entry in future.result().items()
            if entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value
        }
        found.append(replace(names[resource.name], settings=own))
    return found


def _replication(admin: AdminClient, old: KafkaConfig) -> int:
    name = old.name(CHECKPOINTS.name)
    return len(admin.list_topics(name, timeout=_SECONDS).topics[name].partitions[0].replicas)


def marks(old: KafkaConfig, partitions: int, *, complete: bool) -> list[Row]:
    """The records that say whether everything of another prefix has been carried."""
    progress = Carried(source=old.prefix, complete=complete)
    rows = []
    for partition in range(partitions):
        mark = Checkpoint(
            role=CARRYING_ROLE,
            partition=partition,
            offset=0,
            time=rfc3339(time.time_ns()),
            counters={},
            instance="",
            progress=progress,
        )
        key = checkpoint_key(CARRYING_ROLE, partition)
        rows.append(Row(CHECKPOINTS, partition, key, msgspec.json.encode(mark)))
    return rows


def write(config: KafkaConfig, rows: Iterable[Row]) -> int:
    """Write records and wait until the broker has them; how many there were. Raises NoBroker or StreamError."""
    producer = _Confirmed(clients.producer(config), config)
    count = 0
    for row in rows:
        producer.send(row)
        count += 1
    producer.flush()
    return count


def copy_exactly(old: KafkaConfig, new: KafkaConfig, topic: Topic) -> int:
    """Copy a topic of one partition so that every record keeps its offset; the end of both.

    Compaction leaves gaps between offsets. They are filled with what readers of committed records never get: the
    end of a transaction takes one offset, an aborted one takes as many as it has records and one for its end.
    """
    admin = clients.admin(new)
    name, into = old.name(topic.name), new.name(topic.name)
    start, end = topics.starts(admin, name, [0])[0], topics.ends(admin, name, [0])[0]
    run: list[Row] = []
    at = 0  # the offset behind the run
    messages: Iterator[Message | None] = iter([*read_span(old, topic, 0, start, end), None])
    for message in messages:
        offset = end if message is None else message.offset()
        if offset > at:
            _write_run_and_gap(new, topic, run, offset - at, at, message)
            run, at = [], offset
        if message is not None:
            run.append(Row(topic, 0, message.key(), message.value(), message.headers(), message.timestamp()[1]))
            at += 1
    write(new, run)
    _wait_for_end(admin, into, end)
    return end


def _write_run_and_gap(
    config: KafkaConfig, topic: Topic, run: Sequence[Row], gap: int, at: int, following: Message | None
) -> None:
    """Write a run of records and a gap of offsets behind it."""
    if gap == 1 and run:
        _transaction(config, run, commit=True)
    elif gap == 1:
        # The first offset of all: a tombstone of the key that comes next says what its absence said.
        assert following is not None
        write(config, [Row(topic, 0, following.key(), None)])
    else:
        write(config, run)
        filler = Row(topic, 0, _FILLER, None)
        _transaction(config, [filler] * (gap - 1), commit=False)
    _wait_for_end(clients.admin(config), config.name(topic.name), at + gap)


def _wait_for_end(admin: AdminClient, name: str, end: int) -> None:
    """Wait until a partition ends where it must: the broker writes the end of a transaction a moment after it."""
    deadline = time.monotonic() + _SECONDS
    while (found := topics.ends(admin, name, [0])[0]) != end:
        if found > end or time.monotonic() > deadline:
            raise StreamError(f"{name} ends at {found} and not at {end}: does somebody else write it?")
        time.sleep(_BETWEEN_SECONDS)


def _transaction(config: KafkaConfig, rows: Iterable[Row], *, commit: bool) -> None:
    producer = clients.transactional_producer(config, CARRYING_ROLE)
    try:
        producer.init_transactions(_SECONDS)
        producer.begin_transaction()
        confirmed = _Confirmed(producer, config)
        for row in rows:
            confirmed.send(row)
        confirmed.flush()
        if commit:
            producer.commit_transaction(_SECONDS)
        else:
            producer.abort_transaction(_SECONDS)
    except KafkaException as error:
        raise StreamError(f"cannot write to {config.bootstrap} in a transaction: {error.args[0].str()}") from error


def begin_groups(config: KafkaConfig, sources: Mapping[str, Topic], partitions: int) -> None:
    """Let each role's group (by role, its input) stand at the beginning of its input."""
    admin = clients.admin(config)
    for role, topic in sources.items():
        places = [TopicPartition(config.name(topic.name), partition, 0) for partition in range(partitions)]
        asked = [ConsumerGroupTopicPartitions(config.name(role), places)]

        def ask(asked: list[ConsumerGroupTopicPartitions] = asked) -> None:
            for future in admin.alter_consumer_group_offsets(asked, request_timeout=ASK_SECONDS).values():
                future.result()

        try:
            answer_of(ask)
        except KafkaException as error:
            raise topics.no_broker(config, error) from error


def finish(old: KafkaConfig, new: KafkaConfig, partitions: int, rows: Iterable[Row]) -> None:
    """Write tables and checkpoints, and that all is there, in one transaction."""
    _transaction(new, [*rows, *marks(old, partitions, complete=True)], commit=True)


class _Confirmed:
    """A producer whose failures are raised; waits while its queue is full."""

    def __init__(self, producer: Producer, config: KafkaConfig) -> None:
        self._producer = producer
        self._config = config
        self._failure: Any = None

    def send(self, row: Row) -> None:
        topic = self._config.name(row.topic.name)
        headers = list(row.headers) if row.headers else None
        deadline = time.monotonic() + _FLUSH_SECONDS
        while True:
            try:
                self._producer.produce(
                    topic,
                    row.value,
                    row.key,
                    row.partition,
                    on_delivery=self._on_delivery,
                    timestamp=row.timestamp,
                    headers=headers,
                )
                return
            except BufferError:
                self._producer.poll(_BETWEEN_SECONDS)
                if time.monotonic() > deadline:
                    raise NoBroker(f"{self._config.bootstrap} takes no records") from None

    def flush(self) -> None:
        left = self._producer.flush(_FLUSH_SECONDS)
        if self._failure is not None:
            raise StreamError(f"the broker refused a record: {self._failure.str()}")
        if left:
            raise NoBroker(f"{self._config.bootstrap} has not confirmed {left} records")

    def _on_delivery(self, error: Any, message: Message) -> None:
        self._failure = self._failure or error
