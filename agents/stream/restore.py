"""Taking a partition: where its input goes on, and the table that belongs to exactly that point."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from agents.stream import topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import BadConfiguration, HeldBack, InputGap, TornState, UnreadableState
from agents.stream.read import read_until
from schemas.records import Checkpoint
from schemas.topics import CHECKPOINTS, Topic

log = logging.getLogger(__name__)
_COMMITTED_SECONDS = 30.0
_ASK_SECONDS = 2.0
_SECOND_LOOK_SECONDS = 2.0
CARRYING_ROLE = "repartition"
"""Role of the checkpoints that `agents.stream.carry` writes while it carries a desk to other topics."""


class Carried(msgspec.Struct, frozen=True):
    """Whether everything of the desk with the prefix `source` has been carried."""

    source: str
    complete: bool


class _Version(msgspec.Struct):
    """What every version of the product can read of a checkpoint."""

    state_version: int = 1


@dataclass
class Stored:
    """What the topics hold of one partition: the next input offset, its checkpoint and the table's rows."""

    offset: int = 0
    checkpoint: Checkpoint | None = None
    table: dict[bytes, bytes] = field(default_factory=dict)


def checkpoint_key(role: str, partition: int) -> bytes:
    """Key of a role's checkpoint of one partition."""
    return f"{role}-{partition}".encode()


def state_of(role: str, topic: str, partition: int) -> str:
    """How errors name the state of one partition of a role's input."""
    return f"the state of {role} at {topic} [{partition}]"


def unreadable(where: str, error: Exception) -> UnreadableState:
    """The error for stored state that has not the form that its version says."""
    return UnreadableState(f"{where} cannot be read ({error}). See docs/operations.md, unreadable state.")


class Restorer:
    """Reads the stored state of partitions of one role."""

    def __init__(
        self,
        config: KafkaConfig,
        role: str,
        source: Topic,
        table: Topic | None,
        state_version: int,
        admin: AdminClient,
        beat: Callable[[], None],
    ) -> None:
        self._config = config
        self._role = role
        self._source = config.name(source.name)
        self._table = config.name(table.name) if table else None
        self._state_version = state_version
        self._admin = admin
        self._beat = beat

    def take(self, consumer: Consumer, partitions: Iterable[int]) -> dict[int, Stored]:
        """Stored state of each partition, consistent to one point.

        Raises TornState, UnreadableState, InputGap or HeldBack; BadConfiguration for a desk that has been carried
        here only in part.
        """
        partitions = list(partitions)
        taken, torn = self._look(consumer, partitions)
        if torn:
            # A commit may have been on its way while we looked.
            log.warning("state of %s does not fit yet: %s", self._source, "; ".join(torn.values()))
            time.sleep(_SECOND_LOOK_SECONDS)
            again, torn = self._look(consumer, list(torn))
            taken.update(again)
        if torn:
            raise TornState(f"{'; '.join(torn.values())}. See docs/operations.md, torn state.")
        self._check_log_start({partition: stored.offset for partition, stored in taken.items()})
        return taken

    def _look(self, consumer: Consumer, partitions: list[int]) -> tuple[dict[int, Stored], dict[int, str]]:
        # First the group's offsets, which wait for transactions under way; then everything below the true ends.
        committed = self._committed(consumer, partitions)
        stored = self._read(partitions)
        starts = topics.starts(self._admin, self._source, partitions, self._beat)
        torn = {}
        for partition, state in stored.items():
            group = committed[partition]
            checkpoint = state.checkpoint.offset if state.checkpoint else None
            if checkpoint is not None and group in (checkpoint, None):
                state.offset = checkpoint
            elif checkpoint is None and group is None and not state.table:
                state.offset = starts[partition]
            else:
                torn[partition] = (
                    f"{self._source} [{partition}]: the group is at {group}, the checkpoint at {checkpoint}, "
                    f"the table has {len(state.table)} rows"
                )
        return {p: state for p, state in stored.items() if p not in torn}, torn

    def _committed(self, consumer: Consumer, partitions: list[int]) -> dict[int, int | None]:
        asked = [TopicPartition(self._source, partition) for partition in partitions]
        deadline = time.monotonic() + _COMMITTED_SECONDS
        while True:
            self._beat()
            try:
                answer = consumer.committed(asked, timeout=_ASK_SECONDS)
                failed = next((at.error for at in answer if at.error is not None), None)
            except KafkaException as error:
                failed = error.args[0]
            if failed is None:
                return {at.partition: at.offset if at.offset >= 0 else None for at in answer}
            if time.monotonic() > deadline:
                raise HeldBack(
                    f"the group's offsets in {self._source} cannot be read ({failed.str()}). "
                    "See docs/operations.md, hanging transaction."
                )
            _pause()

    def _read(self, partitions: list[int]) -> dict[int, Stored]:
        stored = {partition: Stored() for partition in partitions}
        checkpoints = self._config.name(CHECKPOINTS.name)
        keys = {checkpoint_key(self._role, partition): partition for partition in partitions}
        newest: dict[int, bytes | None] = {}
        carrying = {checkpoint_key(CARRYING_ROLE, partition) for partition in partitions}
        incomplete = None
        for message in read_until(self._config, self._spans([checkpoints, self._table], partitions), self._beat):
            key, value = message.key(), message.value()
            if message.topic() == checkpoints:
                if key in keys:
                    newest[keys[key]] = value
                elif key in carrying:
                    carried = msgspec.convert(msgspec.json.decode(value, type=Checkpoint).progress, Carried)
                    incomplete = None if carried.complete else carried
            elif value is None:
                stored[message.partition()].table.pop(key, None)
            else:
                stored[message.partition()].table[key] = value
        if incomplete is not None:
            raise BadConfiguration(
                f"the desk {self._config.prefix!r} is not whole yet: run again mm topics repartition "
                f"--prefix '{incomplete.source}' --to {self._config.prefix}"
            )
        for partition, value in newest.items():
            stored[partition].checkpoint = self._checkpoint(partition, value) if value else None
        return stored

    def _checkpoint(self, partition: int, value: bytes) -> Checkpoint:
        where = state_of(self._role, self._source, partition)
        try:
            # Alone and first: of a newer version nothing else need be as this one knows it.
            version = msgspec.json.decode(value, type=_Version).state_version
            if version > self._state_version:
                raise UnreadableState(
                    f"{where} has been written by a newer version of the product (its form is {version}, this one "
                    f"knows {self._state_version}). See docs/operations.md, unreadable state."
                )
            return msgspec.json.decode(value, type=Checkpoint)
        except msgspec.DecodeError as error:
            raise unreadable(where, error) from error

    def _spans(self, names: Iterable[str | None], partitions: list[int]) -> Mapping[tuple[str, int], tuple[int, int]]:
        spans = {}
        for name in names:
            if name is not None:
                # The ends first: what is written meanwhile belongs to nobody but us, and we write nothing.
                ends = topics.ends(self._admin, name, partitions, self._beat)
                starts = topics.starts(self._admin, name, partitions, self._beat)
                spans.update({(name, partition): (starts[partition], ends[partition]) for partition in partitions})
        return spans

    def _check_log_start(self, offsets: Mapping[int, int]) -> None:
        starts = topics.starts(self._admin, self._source, offsets, self._beat)
        ends = topics.ends(self._admin, self._source, offsets, self._beat)
        for partition, offset in offsets.items():
            where = f"{self._source} [{partition}]"
            if offset < starts[partition]:
                raise InputGap(
                    f"{where}: records {offset} to {starts[partition] - 1} have not been read and are gone from the "
                    "log. See docs/operations.md, lost input."
                )
            if offset > ends[partition]:
                raise InputGap(
                    f"{where}: the next record to read is {offset}, but the log ends at {ends[partition]}: "
                    "was the topic made anew? Use another MM_PREFIX, or remove the tables and checkpoints as well."
                )


def _pause() -> None:
    """Between two questions that fail at once: without it librdkafka's memory grows by 60 MB a second (measured)."""
    time.sleep(0.2)
