"""What an agent is to the runner: a role with one ordered input, a table of its own, and outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from agents.stream.batch import Batch
from agents.stream.transaction import Headers
from schemas.topics import CHECKPOINTS, DEAD_LETTERS, Topic


class Outputs(Protocol):
    """Where the task of one partition sends what it publishes; all of it in the transaction of its input."""

    def send(self, topic: Topic, key: str, value: bytes, headers: Headers | None = None) -> None:
        """Publish one record to the partition of the same number."""
        ...

    def send_many(self, topic: Topic, records: Sequence[tuple[bytes, bytes]], headers: Headers | None = None) -> None:
        """Publish records (key, value) of one topic that share their headers."""
        ...

    def dead_letter(self, batch: Batch, record: int, reason: str, rows: int = 1) -> None:
        """Set one record aside that could not be used, with the reason and the number of rows that were lost."""
        ...


class Task(Protocol):
    """The agent's work on one partition, and the state of it."""

    def load(self, table: Mapping[bytes, bytes], progress: Any, counters: Mapping[str, int]) -> None:
        """Take up stored state: the table's rows, and what `progress` and `counters` gave in the last transaction."""
        ...

    def process(self, batch: Batch, out: Outputs) -> None:
        """Take the records of one batch."""
        ...

    def changed_rows(self) -> Iterable[tuple[bytes, bytes, Headers | None]]:
        """Rows of the table (key, value, headers) that have changed since the last call."""
        ...

    def progress(self) -> Any:
        """What else is to be stored, as JSON can hold it; None for nothing."""
        ...

    def counters(self) -> Mapping[str, int]:
        """How many rows were used, late, skipped by reason, …, since the partition's beginning."""
        ...


class Agent(Protocol):
    """One role."""

    @property
    def role(self) -> str:
        """Name of the role; group and transactional ids begin with it."""
        ...

    @property
    def source(self) -> Topic:
        """The input."""
        ...

    @property
    def table(self) -> Topic | None:
        """The compacted topic that keeps its state."""
        ...

    @property
    def state_version(self) -> int:
        """Number of the form of its table's rows and of `Task.progress`; one more when an older version of the
        product could not read it, or would lose some of it by writing it back.
        """
        ...

    @property
    def outputs(self) -> Sequence[Topic]:
        """Other topics that must exist."""
        ...

    def start(self, context: Context) -> None:
        """Called once before the first partition is taken."""
        ...

    def task(self, partition: int, partitions: int) -> Task:
        """A task for a partition of the input, which has that many partitions in all."""
        ...

    def close(self) -> None:
        """Called once at the end."""
        ...


def needed_topics(agent: Agent) -> list[Topic]:
    """The topics that an agent needs beside its input."""
    return [CHECKPOINTS, DEAD_LETTERS, *agent.outputs, *filter(None, [agent.table])]


class Context(Protocol):
    """What the runner lends an agent at its start."""

    def follow(self, topic: Topic) -> Any:
        """A `agents.stream.read.Follower` of a topic of one partition."""
        ...

    @property
    def beat(self) -> Callable[[], None]:
        """To be called now and then by work that takes long."""
        ...
