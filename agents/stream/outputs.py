"""What the task of one partition publishes, on its way into the transaction of its input."""

from __future__ import annotations

from collections.abc import Sequence

from agents.stream.agent import Agent
from agents.stream.batch import Batch
from agents.stream.config import KafkaConfig
from agents.stream.transaction import Headers, Transactions
from schemas.dead_letters import Origin, dead_letter
from schemas.topics import DEAD_LETTERS, Topic


class PartitionOutputs:
    """Outputs to one partition, into the transaction that is being filled; counts the rows that it sets aside.

    instance: of the agent, for dead letters; dead_lettered: rows set aside before. `published` tells whether anything
    has been sent since the runner last stored the task's state and took it back.
    """

    def __init__(
        self,
        transactions: Transactions,
        config: KafkaConfig,
        agent: Agent,
        instance: str,
        partition: int,
        dead_lettered: int,
    ) -> None:
        topics = (DEAD_LETTERS, *agent.outputs, *filter(None, [agent.table]))
        self._topics = {topic.name: config.name(topic.name) for topic in topics}
        self._agent = f"{agent.role}-{instance}"
        self._partition = partition
        self._transactions = transactions
        self.dead_lettered = dead_lettered
        self.published = False

    def send(self, topic: Topic, key: str, value: bytes, headers: Headers | None = None) -> None:
        """Publish one record to the partition of the same number."""
        self.published = True
        self._transactions.send(self._topics[topic.name], self._partition, key.encode(), value, headers)

    def send_many(self, topic: Topic, records: Sequence[tuple[bytes, bytes]], headers: Headers | None = None) -> None:
        """Publish records (key, value) of one topic that share their headers."""
        self.published = True
        self._transactions.send_many(self._topics[topic.name], self._partition, records, headers)

    def dead_letter(self, batch: Batch, record: int, reason: str, rows: int = 1) -> None:
        """Set one record aside that could not be used."""
        origin = Origin(batch.topic, batch.partition, batch.offset(record))
        key, value, headers = dead_letter(origin, batch.key(record), batch.value(record), reason, self._agent)
        self.published = True
        self._transactions.send(self._topics[DEAD_LETTERS.name], self._partition, key, value, headers)
        self.dead_lettered += rows
