"""One assigned partition of an agent: its task, what that publishes, and how much of it is stored."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from agents.stream.agent import Agent, Task, needed_topics
from agents.stream.batch import Batch
from agents.stream.config import KafkaConfig
from agents.stream.restore import Stored, checkpoint_key, state_of, unreadable
from agents.stream.transaction import Headers, Transactions
from schemas.dead_letters import Origin, dead_letter
from schemas.records import Checkpoint
from schemas.times import rfc3339
from schemas.topics import CHECKPOINTS, DEAD_LETTERS, Topic

WITHOUT_OUTPUT_SECONDS = 0.7  # no divisor of a second: decisions, and with them output, come at whole ones
"""State of a partition that has published nothing waits so long: to store it only spares the next process some reading,
and costs two of the requests that a broker takes one after the other, which delays the output of other partitions."""
_DEAD_LETTERED = "dead_lettered"


class HeldPartition:
    """A partition from its taking to its loss. The task's outputs (`agents.stream.agent.Outputs`) come here.

    instance: the agent's, for checkpoints and dead letters; partitions: how many the input has; stored: what the topics
    hold of it. `position` is the next offset to process, `stored_position` that of the newest checkpoint, which may
    be on its way still; None when there is none. Raises UnreadableState.
    """

    def __init__(
        self,
        agent: Agent,
        config: KafkaConfig,
        instance: str,
        transactions: Transactions,
        partition: int,
        partitions: int,
        stored: Stored,
    ) -> None:
        self._names = {topic.name: config.name(topic.name) for topic in needed_topics(agent)}
        self._agent = agent
        self._instance = instance
        self._transactions = transactions
        self._partition = partition
        self._published = False
        self._changed_at: float | None = None
        checkpoint = stored.checkpoint
        self.newest_ms = 0  # Kafka's time of the newest record that was taken
        self.position = stored.offset
        self.stored_position = stored.offset if checkpoint else None
        counters = dict(checkpoint.counters) if checkpoint else {}
        self._dead_lettered = counters.pop(_DEAD_LETTERED, 0)
        self._task: Task = agent.task(partition, partitions)
        try:
            self._task.load(stored.table, checkpoint.progress if checkpoint else None, counters)
        except (msgspec.DecodeError, ValueError) as error:
            raise unreadable(state_of(agent.role, config.name(agent.source.name), partition), error) from error

    def process(self, batch: Batch) -> None:
        """Take the records of one batch, from `position` on."""
        self.position = batch.next_offset  # first: what fails in the middle of the batch has failed up to its end
        self.newest_ms = max(self.newest_ms, int(batch.timestamps[-1]))
        if self._changed_at is None:
            self._changed_at = time.monotonic()
        self._task.process(batch, self)

    # -- what the task publishes ---------------------------------------------------------------------------------

    def send(self, topic: Topic, key: str, value: bytes, headers: Headers | None = None) -> None:
        """Publish one record to the partition of the same number."""
        self._published = True
        self._transactions.send(self._names[topic.name], self._partition, key.encode(), value, headers)

    def send_many(self, topic: Topic, records: Sequence[tuple[bytes, bytes]], headers: Headers | None = None) -> None:
        """Publish records (key, value) of one topic that share their headers; none is nothing published."""
        if not records:
            return
        self._published = True
        self._transactions.send_many(self._names[topic.name], self._partition, records, headers)

    def dead_letter(self, batch: Batch, record: int, reason: str, rows: int = 1) -> None:
        """Set one record aside that could not be used."""
        self._published = True
        origin = Origin(batch.topic, batch.partition, batch.offset(record))
        agent = f"{self._agent.role}-{self._instance}"
        key, value, headers = dead_letter(origin, batch.key(record), batch.value(record), reason, agent)
        self._transactions.send(self._names[DEAD_LETTERS.name], self._partition, key, value, headers)
        self._dead_lettered += rows

    # -- what is stored of it ------------------------------------------------------------------------------------

    @property
    def changed(self) -> bool:
        """Whether there is anything to store."""
        return self._changed_at is not None

    def must_be_stored(self, now: float) -> bool:
        """Whether the state belongs in the next transaction: it goes with what it has published, or is old enough.

        now: of `time.monotonic`.
        """
        return self._published or (self._changed_at is not None and now - self._changed_at >= WITHOUT_OUTPUT_SECONDS)

    def store(self) -> None:
        """Add changed rows of the table and a checkpoint to the transaction that is being filled."""
        if self._agent.table is not None:
            table = self._names[self._agent.table.name]
            for key, row, headers in self._task.changed_rows():
                self._transactions.send(table, self._partition, key, row, headers)
        checkpoint = Checkpoint(
            role=self._agent.role,
            partition=self._partition,
            offset=self.position,
            time=rfc3339(time.time_ns()),
            counters=self.counters(),
            instance=self._instance,
            progress=self._task.progress(),
            state_version=self._agent.state_version,
        )
        key = checkpoint_key(self._agent.role, self._partition)
        self._transactions.send(self._names[CHECKPOINTS.name], self._partition, key, msgspec.json.encode(checkpoint))
        self.stored_position, self._changed_at, self._published = self.position, None, False

    def counters(self) -> dict[str, int]:
        """What became of the rows since the partition's beginning, those that were set aside included."""
        return {**self._task.counters(), _DEAD_LETTERED: self._dead_lettered}
