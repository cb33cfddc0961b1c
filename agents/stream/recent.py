"""The recent past of many topics without a group, then everything that comes; and where their logs end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from agents.stream import clients, topics
from agents.stream.batch import raise_for
from agents.stream.config import KafkaConfig
from agents.stream.errors import NoBroker
from agents.stream.read import read_until
from schemas.topics import Topic

MOST_AT_ONCE = 10_000
_REQUEST_SECONDS = 10.0
_PULSE_SECONDS = 4.0
_PATIENCE_SECONDS = 30.0
_NONE = -1
# The default answers a fetch with the first batch that any partition gets: hundreds of answers a second for what is
# shown a few times a second, and each costs reader and broker the same, however little is in it.
_PACED = {"fetch.min.bytes": 1 << 20, "fetch.wait.max.ms": 25}


class RecentReader:
    """Committed records of topics: compacted ones whole, of the others those since `seconds` before the newest.

    Survives restarts of the broker; where records expired before they were read it goes on at the log's start and
    counts that in `gaps`. Raises NoBroker or MissingTopics when it cannot begin.
    """

    def __init__(self, config: KafkaConfig, read: Iterable[Topic], seconds: float) -> None:
        first = first_offsets(config, read, seconds)
        self.gaps = 0
        self._behind = set(first)
        self._consumer = clients.reader(config, **_PACED)
        self._consumer.assign([TopicPartition(*at, offset) for at, offset in first.items()])

    @property
    def caught_up(self) -> bool:
        """Whether the end of every partition has been reached once."""
        return not self._behind

    def poll(self, timeout: float) -> list[Message]:
        """Records that have come, waiting up to `timeout` seconds for a first one."""
        first = self._consumer.poll(timeout)
        if first is None:
            return []
        return self._sifted([first, *self._consumer.consume(MOST_AT_ONCE, 0)])

    def close(self) -> None:
        """Leave the topics."""
        self._consumer.close()

    def _sifted(self, messages: list[Message]) -> list[Message]:
        records = [message for message in messages if message.error() is None]
        if len(records) < len(messages):
            for message in messages:
                if message.error() is not None:
                    self._take_note(message)
        return records

    def _take_note(self, message: Message) -> None:
        """Of what is no record."""
        error = message.error()
        if error.code() == KafkaError._PARTITION_EOF:
            self._behind.discard((message.topic(), message.partition()))
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            self.gaps += 1
            self._consumer.seek(TopicPartition(message.topic(), message.partition(), OFFSET_BEGINNING))
        else:
            raise_for(error)


class Pulse:
    """Asks the broker for the ends of some topics; that it answers is worth as much as the answer."""

    def __init__(self, config: KafkaConfig, asked: Iterable[Topic]) -> None:
        self._config = config
        self._admin = clients.admin(config)
        self._topics = list(asked)
        self._partitions: dict[str, int] = {}

    def ends(self) -> dict[str, dict[int, int]]:
        """By topic and partition the next offset to be written. Raises NoBroker or MissingTopics."""
        if not self._partitions:
            self._partitions = _counts(self._config, self._topics)
        plain = {self._config.name(topic.name): topic.name for topic in self._topics}
        asked = {
            TopicPartition(name, partition): OffsetSpec.latest()
            for name, topic in plain.items()
            for partition in range(self._partitions[topic])
        }
        ends: dict[str, dict[int, int]] = {topic: {} for topic in plain.values()}
        try:
            for at, (offset, _) in _ask(self._config, self._admin, asked, _PULSE_SECONDS).items():
                ends[plain[at.topic]][at.partition] = offset
        except NoBroker:
            # A client keeps leaders and their epochs of before a broker's restart for minutes, and topics that were
            # made anew may have another number of partitions.
            self._admin = clients.admin(self._config)
            self._partitions = {}
            raise
        return ends


def partitions_of(config: KafkaConfig, topic: Topic) -> int:
    """Number of partitions of one topic. Raises NoBroker or MissingTopics."""
    return _counts(config, [topic])[topic.name]


def records_since(
    config: KafkaConfig, topic: Topic, partition: int, seconds: float, beat: Callable[[], None] = lambda: None
) -> Iterator[Message]:
    """Committed records of one partition that are at most so many seconds older than its topic's newest.

    `beat` is called while it reads.
    """
    at = config.name(topic.name), partition
    first = first_offsets(config, [topic], seconds)[at]
    place = TopicPartition(*at)
    end, _ = _ask(config, clients.admin(config), {place: OffsetSpec.latest()})[place]
    yield from read_until(config, {at: (first, end)}, beat, _PATIENCE_SECONDS)


def newest_time(config: KafkaConfig, topic: Topic) -> float | None:
    """Kafka's time of the newest record of a topic, in seconds since the epoch; None when there is none."""
    name = config.name(topic.name)
    newest = _newest_ms(config, {name: _counts(config, [topic])[topic.name]})
    return newest[name] / 1000 if newest else None


def first_offsets(config: KafkaConfig, read: Iterable[Topic], seconds: float) -> Mapping[tuple[str, int], int]:
    """By full name and partition: where the last `seconds` before a topic's newest record begin, or a compacted one."""
    read = list(read)
    counts = _counts(config, read)
    first = {
        (config.name(topic.name), partition): OFFSET_BEGINNING
        for topic in read
        for partition in range(counts[topic.name])
    }
    recent = {config.name(topic.name): counts[topic.name] for topic in read if not topic.compacted}
    asked = {
        TopicPartition(topic, partition): OffsetSpec.for_timestamp(max(0, newest - round(seconds * 1000)))
        for topic, newest in _newest_ms(config, recent).items()
        for partition in range(recent[topic])
    }
    admin = clients.admin(config)
    found = _ask(config, admin, asked)
    # Where all records are older, the first of interest has yet to come.
    found |= _ask(config, admin, {at: OffsetSpec.latest() for at, (offset, _) in found.items() if offset == _NONE})
    first.update({(at.topic, at.partition): offset for at, (offset, _) in found.items()})
    return first


def _newest_ms(config: KafkaConfig, partitions: Mapping[str, int]) -> dict[str, int]:
    spec = OffsetSpec.max_timestamp()
    asked = {TopicPartition(topic, p): spec for topic, count in partitions.items() for p in range(count)}
    now = int(time.time() * 1000)
    newest: dict[str, int] = {}
    for at, (offset, timestamp) in _ask(config, clients.admin(config), asked).items():
        if offset != _NONE:
            newest[at.topic] = max(newest.get(at.topic, 0), min(timestamp, now))
    return newest


def _ask(
    config: KafkaConfig,
    admin: AdminClient,
    asked: Mapping[TopicPartition, OffsetSpec],
    seconds: float = _REQUEST_SECONDS,
) -> dict[TopicPartition, tuple[int, int]]:
    """Offset and timestamp that the broker gives for each. Raises NoBroker."""
    if not asked:
        return {}
    futures = admin.list_offsets(dict(asked), request_timeout=seconds)
    try:
        answers = {at: future.result() for at, future in futures.items()}
    except KafkaException as error:
        raise topics.no_broker(config, error) from error
    if any(answer.offset == OFFSET_INVALID for answer in answers.values()):
        # What the client gives, without an error, when no broker has answered in time.
        raise NoBroker(f"no Kafka broker answers at {config.bootstrap} within {seconds:g} s")
    return {at: (answer.offset, answer.timestamp) for at, answer in answers.items()}


def _counts(config: KafkaConfig, asked: Iterable[Topic]) -> dict[str, int]:
    """Number of partitions by plain name."""
    present = topics.partition_counts(clients.admin(config), config)
    names = {topic.name: config.name(topic.name) for topic in asked}
    topics.require(present, names.values())
    return {plain: present[name] for plain, name in names.items()}
