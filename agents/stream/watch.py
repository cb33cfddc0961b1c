"""Reading topics for people and programs that look on: whole, or as they grow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from confluent_kafka import KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from agents.stream import clients, topics
from agents.stream.batch import raise_for
from agents.stream.config import KafkaConfig
from agents.stream.read import read_until

_MOST_AT_ONCE = 10_000


def read_whole(config: KafkaConfig, *names: str, patience: float = 60.0) -> Iterator[Message]:
    """Committed records of topics from their beginning to their end at the time of the call.

    Ordered within a partition only. Raises NoBroker or MissingTopics, and HeldBack when nothing comes for `patience`
    seconds.
    """
    admin = clients.admin(config)
    spans = {}
    for name, count in _partitions(admin, config, names).items():
        # The end first: what is written meanwhile is not asked for.
        ends = topics.ends(admin, name, range(count))
        starts = topics.starts(admin, name, range(count))
        spans.update({(name, p): (starts[p], ends[p]) for p in range(count)})
    yield from read_until(config, spans, patience=patience)


class Watcher:
    """Committed records of some topics, from their beginning or from now on, as they come.

    Raises NoBroker or MissingTopics. Ordered within a partition only.
    """

    def __init__(self, config: KafkaConfig, names: Iterable[str], *, from_beginning: bool) -> None:
        admin = clients.admin(config)
        bound = topics.starts if from_beginning else topics.ends
        positions = [
            TopicPartition(name, partition, offset)
            for name, count in _partitions(admin, config, names).items()
            for partition, offset in bound(admin, name, range(count)).items()
        ]
        self._reader = clients.reader(config)
        self._reader.assign(positions)

    def poll(self, seconds: float) -> list[Message]:
        """What has come, waiting up to `seconds` for a first record."""
        first = self._reader.poll(seconds)
        if first is None:
            return []
        return [m for m in (first, *self._reader.consume(_MOST_AT_ONCE, 0)) if _is_record(m)]

    def close(self) -> None:
        """Leave the topics."""
        self._reader.close()


def _is_record(message: Message) -> bool:
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        raise_for(error)
    return error is None


def _partitions(admin: AdminClient, config: KafkaConfig, names: Iterable[str]) -> dict[str, int]:
    """Partitions of each topic, by full name."""
    counts = topics.partition_counts(admin, config)
    wanted = [config.name(name) for name in names]
    topics.require(counts, wanted)
    return {name: counts[name] for name in wanted}
