"""The procedure: refuse what is not at rest, carry everything over, and say at the very end that it is whole."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from agents.execution import ExecutionAgent
from agents.portfolio import PortfolioAgent
from agents.repartition.pending import Merge, Pending
from agents.repartition.state import checkpoints, moments, places, progress_of
from agents.signals import SignalsAgent
from agents.strategy.settings import Settings
from agents.stream import carry, clients, topics
from agents.stream.carry import Row
from agents.stream.config import KafkaConfig
from agents.stream.errors import BadConfiguration, MissingTopics
from agents.stream.restore import CARRYING_ROLE, Restorer, Stored, checkpoint_key
from agents.stream.watch import read_whole
from schemas.partitioning import partition_of
from schemas.times import NS, rfc3339
from schemas.topics import CHECKPOINTS, CONTROLS, MOMENTS, ORDERS, QUOTES, TOPICS, Topic

log = logging.getLogger(__name__)

ROLES: tuple[Any, ...] = (SignalsAgent, ExecutionAgent, PortfolioAgent)
SOURCES = {role.role: role.source for role in ROLES}
_BETWEEN_SECONDS = 0.2


@dataclass(frozen=True)
class Moved:
    """What was carried: partitions before and after, symbols, quotes' records, and what no agent could have used."""

    before: int
    after: int
    symbols: int
    pending: int
    left_behind: int


def repartition(old: KafkaConfig, new: KafkaConfig, partitions: int, settings: Settings) -> Moved:
    """Carry the desk of one prefix to another, which may have another number of partitions.

    Raises BadConfiguration where agents or feeds are at work, a role has input left or the new prefix is in use;
    NoBroker, MissingTopics, UnequalPartitions, TornState, UnreadableState and InputGap as an agent does.
    """
    if old.prefix == new.prefix:
        raise BadConfiguration(f"--to {new.prefix!r} is the prefix that the desk has: choose another")
    if topics.present_partitions(clients.admin(old), old, TOPICS.values()) is None:
        raise MissingTopics(
            f"no desk has the prefix {old.prefix!r}: --prefix, or MM_PREFIX, names the one to be carried"
        )
    before = topics.check(clients.admin(old), old, TOPICS.values())
    _refuse_members(old)
    at_rest = _ends(old, before)
    stored = _stored(old, before)
    _refuse_work(old, stored, at_rest)
    carry.prepare(old, new, partitions, SOURCES)
    carry.copy_exactly(old, new, CONTROLS)
    merge = _pending(old, stored[SignalsAgent.role], at_rest[QUOTES.name], partitions, settings)
    pending = carry.write(new, _rows(merge))
    carry.begin_groups(new, SOURCES, partitions)
    rows = list(_state(old, stored, partitions))
    _refuse_members(old)
    if _ends(old, before) != at_rest:
        raise BadConfiguration(f"records have come to the topics of {old.prefix!r} meanwhile: stop what writes them")
    carry.finish(old, new, partitions, rows)
    symbols = {row.key for row in rows if row.topic is ORDERS}
    return Moved(before, partitions, len(symbols), pending, merge.left_behind)


def _refuse_members(config: KafkaConfig) -> None:
    deadline = 0.0
    while running := carry.members(config, SOURCES):
        if not deadline:
            patience = 2 * config.session_seconds  # static members are missed only after their session
            deadline = time.monotonic() + patience
            log.info("waiting until the agents' sessions are over, %.0f s at most", patience)
        if time.monotonic() > deadline:
            listed = ", ".join(f"{count} {role}" for role, count in running.items())
            raise BadConfiguration(f"agents are at work on {config.prefix!r} ({listed}): stop them first")
        time.sleep(_BETWEEN_SECONDS)


def _ends(config: KafkaConfig, partitions: int) -> dict[str, Mapping[int, int]]:
    admin = clients.admin(config)
    return {
        topic.name: topics.ends(admin, config.name(topic.name), range(topic.partitions or partitions))
        for topic in (*SOURCES.values(), CONTROLS, CHECKPOINTS)
    }


def _stored(config: KafkaConfig, partitions: int) -> dict[str, dict[int, Stored]]:
    """What each role keeps, by partition, as its agents would take it up."""
    admin = clients.admin(config)
    stored = {}
    for role in ROLES:
        restorer = Restorer(config, role.role, role.source, role.table, role.state_version, admin, lambda: None)
        member = clients.consumer(config, group=role.role, instance=CARRYING_ROLE)
        try:
            stored[role.role] = restorer.take(member, range(partitions))
        finally:
            member.close()
    return stored


def _refuse_work(
    config: KafkaConfig, stored: Mapping[str, Mapping[int, Stored]], ends: Mapping[str, Mapping[int, int]]
) -> None:
    """Signals and executions stay in their topics, so all of them must have been taken; quotes are carried."""
    for role, source in SOURCES.items():
        if source is QUOTES:
            continue
        for partition, state in stored[role].items():
            span = carry.read_span(config, source, partition, state.offset, ends[source.name][partition])
            if any(True for _ in span):
                raise BadConfiguration(
                    f"{role} has not taken all of {config.name(source.name)} [{partition}]: stop the feeds and the "
                    f"signals agents, let the others run until they have no lag, then stop them too"
                )


def _pending(
    config: KafkaConfig, stored: Mapping[int, Stored], ends: Mapping[int, int], partitions: int, settings: Settings
) -> Merge:
    records = {
        partition: _records(config, partition, state.offset, ends[partition]) for partition, state in stored.items()
    }
    heard = {partition: places(progress_of(state)) for partition, state in stored.items()}
    return Merge(records, heard, partitions, round(settings.future_seconds * NS))


def _records(config: KafkaConfig, partition: int, first: int, end: int) -> Iterator[Pending]:
    for message in carry.read_span(config, QUOTES, partition, first, end):
        yield Pending(message.key(), message.value(), message.timestamp()[1])


def _rows(merge: Merge) -> Iterator[Row]:
    for partition, record in merge:
        yield Row(QUOTES, partition, record.key, record.value, timestamp=record.timestamp)


def _state(config: KafkaConfig, stored: Mapping[str, Mapping[int, Stored]], partitions: int) -> Iterator[Row]:
    """Tables and checkpoints for the new partitions."""
    for partition, rows in enumerate(moments(stored[SignalsAgent.role], partitions)):
        for key, value in rows:
            yield Row(MOMENTS, partition, key, value)
    for topic in (ExecutionAgent.table, PortfolioAgent.table, ORDERS):
        yield from _latest(config, topic, partitions)
    now = rfc3339(time.time_ns())
    for role in ROLES:
        for checkpoint in checkpoints(role, stored[role.role], partitions, now, CARRYING_ROLE):
            key = checkpoint_key(role.role, checkpoint.partition)
            yield Row(CHECKPOINTS, checkpoint.partition, key, msgspec.json.encode(checkpoint))


def _latest(config: KafkaConfig, topic: Topic, partitions: int) -> Iterator[Row]:
    """The newest record of each symbol, as it was published."""
    newest = {message.key(): message for message in read_whole(config, topic.name)}
    for key, message in newest.items():
        if message.value() is not None:
            target = partition_of(key.decode(), partitions)
            yield Row(topic, target, key, message.value(), message.headers(), message.timestamp()[1])
