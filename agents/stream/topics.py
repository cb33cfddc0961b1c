"""Topics on the broker: create them, and check that a chain of them fits together."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Container, Iterable, Mapping
from concurrent.futures import wait

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from agents.stream.config import KafkaConfig
from agents.stream.errors import BadConfiguration, MissingTopics, NoBroker, StreamError, UnequalPartitions
from schemas.topics import Topic

_SECONDS = 10.0
_ASK_SECONDS = 1.0
_ANSWER_SECONDS = 20.0  # a broker that starts again takes about ten
_SHOWN_SECONDS = 60.0  # a busy broker can take long to show a topic that it has created or deleted
_BETWEEN_SECONDS = 0.05
_NOT_YET = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
}
"""What a broker answers about a partition that was created a moment ago, or that is changing its leader."""
NO_ANSWER = {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError.REQUEST_TIMED_OUT}
"""What the client says, or a broker that is cut off, when nobody has answered in time."""


def partition_counts(admin: AdminClient | Producer | Consumer, config: KafkaConfig) -> dict[str, int]:
    """Number of partitions of every topic on the broker, by full name; any client can ask. Raises NoBroker."""
    try:
        topics = admin.list_topics(timeout=_SECONDS).topics
    except KafkaException as error:
        raise no_broker(config, error) from error
    return {name: len(topic.partitions) for name, topic in topics.items()}


def no_broker(config: KafkaConfig, error: KafkaException) -> NoBroker:
    """The error for a broker that does not answer."""
    return NoBroker(
        f"no Kafka broker answers at {config.bootstrap} ({error.args[0].str()}); start one with: mm broker up"
    )


def require(present: Container[str], names: Iterable[str]) -> None:
    """Raises MissingTopics for those full names that are not among the present ones."""
    missing = [name for name in names if name not in present]
    if missing:
        raise MissingTopics(f"missing topics: {', '.join(missing)}; create them with: mm topics create")


def check(admin: AdminClient, config: KafkaConfig, topics: Iterable[Topic]) -> int:
    """The number of partitions that the chain shares. Raises NoBroker, MissingTopics or UnequalPartitions."""
    topics = list(topics)
    counts = partition_counts(admin, config)
    require(counts, [config.name(topic.name) for topic in topics])
    for topic in topics:
        count = counts[config.name(topic.name)]
        if topic.partitions is not None and count != topic.partitions:
            raise UnequalPartitions(
                f"{config.name(topic.name)} has {count} partitions and must have {topic.partitions}"
            )
    # Alone, a topic of a fixed number is its own chain.
    return _shared(config, [topic for topic in topics if topic.partitions is None] or topics[:1], counts)


def _shared(config: KafkaConfig, topics: Iterable[Topic], counts: Mapping[str, int]) -> int:
    shared = {config.name(topic.name): counts[config.name(topic.name)] for topic in topics}
    if len(set(shared.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in shared.items())
        raise UnequalPartitions(f"the topics of the chain must have the same number of partitions: {listed}")
    return next(iter(shared.values()))


def present_partitions(admin: AdminClient, config: KafkaConfig, topics: Iterable[Topic]) -> int | None:
    """The number of partitions shared by those topics of the chain that exist, None while there are none.

    Raises NoBroker or UnequalPartitions.
    """
    counts = partition_counts(admin, config)
    present = [topic for topic in topics if topic.partitions is None and config.name(topic.name) in counts]
    return _shared(config, present, counts) if present else None


def create(
    admin: AdminClient, config: KafkaConfig, topics: Iterable[Topic], partitions: int, replication: int
) -> list[str]:
    """Create what is not there yet; return the full names of the topics that are new.

    Raises NoBroker, or StreamError with the broker's reason.
    """
    present = partition_counts(admin, config)
    wanted = [
        NewTopic(
            config.name(topic.name),
            num_partitions=topic.partitions or partitions,
            replication_factor=replication,
            config=topic.settings,
        )
        for topic in topics
        if config.name(topic.name) not in present
    ]
    created = []
    for name, future in (admin.create_topics(wanted) if wanted else {}).items():
        try:
            future.result()
            created.append(name)
        except KafkaException as error:
            code = error.args[0].code()
            if code != KafkaError.TOPIC_ALREADY_EXISTS:
                kind = BadConfiguration if code == KafkaError.INVALID_REPLICATION_FACTOR else StreamError
                raise kind(f"cannot create {name}: {error.args[0].str()}") from error
    deadline = time.monotonic() + _SHOWN_SECONDS
    # The broker answers before every part of it knows the topic.
    while not set(created) <= partition_counts(admin, config).keys():
        if time.monotonic() > deadline:
            raise StreamError(f"the broker does not show the topics that it has created: {', '.join(created)}")
    return created


def delete(admin: AdminClient, names: Iterable[str]) -> None:
    """Delete topics by full name and wait until they are gone. Raises StreamError."""
    names = list(names)
    for name, future in admin.delete_topics(names).items():
        try:
            future.result()
        except KafkaException as error:
            raise StreamError(f"cannot delete {name}: {error.args[0].str()}") from error
    deadline = time.monotonic() + _SHOWN_SECONDS
    while set(names) & admin.list_topics(timeout=_SECONDS).topics.keys():
        if time.monotonic() > deadline:
            raise StreamError(f"the broker still shows deleted topics: {', '.join(names)}")


def ends(
    admin: AdminClient, topic: str, partitions: Iterable[int], beat: Callable[[], None] = lambda: None
) -> Mapping[int, int]:
    """True end of each partition: the next offset to be written, open transactions included.

    `beat` is called while it waits for a broker. Raises NoBroker when none answers for long, StreamError for a refusal.
    """
    return _offsets(admin, topic, partitions, OffsetSpec.latest(), beat)


def starts(
    admin: AdminClient, topic: str, partitions: Iterable[int], beat: Callable[[], None] = lambda: None
) -> Mapping[int, int]:
    """First offset still kept of each partition. `beat` and errors as with `ends`."""
    return _offsets(admin, topic, partitions, OffsetSpec.earliest(), beat)


def _offsets(
    admin: AdminClient, topic: str, partitions: Iterable[int], spec: OffsetSpec, beat: Callable[[], None]
) -> Mapping[int, int]:
    # An admin client reads uncommitted by default, which is what tells the true end.
    asked = {TopicPartition(topic, partition): spec for partition in partitions}
    if not asked:
        return {}
    began = time.monotonic()
    while True:
        futures = admin.list_offsets(asked, request_timeout=_SECONDS)
        while wait(futures.values(), _BETWEEN_SECONDS).not_done:
            beat()
        try:
            offsets = {at.partition: future.result().offset for at, future in futures.items()}
            if OFFSET_INVALID not in offsets.values():
                return offsets
            # What the client gives, without an error, when no broker has answered in time.
            reason = KafkaError(KafkaError._TIMED_OUT)
        except KafkaException as error:
            reason = error.args[0]
        waited = time.monotonic() - began
        if reason.code() in NO_ANSWER:
            if waited > _ANSWER_SECONDS:
                said = f"no Kafka broker tells the offsets of {topic} ({reason.str()})"
                raise NoBroker(f"{said}; start one with: mm broker up")
        elif reason.code() not in _NOT_YET or waited > _SHOWN_SECONDS:
            raise StreamError(f"cannot ask for the offsets of {topic}: {reason.str()}")
        beat()
        time.sleep(_BETWEEN_SECONDS)
        # The client keeps leaders and their epochs of before a broker's restart for minutes unless it is made to ask.
        with contextlib.suppress(KafkaException):
            admin.list_topics(topic, timeout=_ASK_SECONDS)
