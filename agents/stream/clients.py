"""The kinds of Kafka clients in use, each with the settings it needs."""

from __future__ import annotations

import logging
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from agents.stream.config import SESSION_TIMEOUT_MS, KafkaConfig
from agents.stream.errors import BadConfiguration
from schemas.partitioning import PARTITIONER

log = logging.getLogger(__name__)
_client_log = logging.getLogger("librdkafka")
# The user's settings are for all clients; that a producer has no use for a consumer's is no news.
_client_log.addFilter(lambda record: "will be ignored by this" not in record.getMessage())
TRANSACTION_TIMEOUT_MS = 10_000


def consumer(config: KafkaConfig, *, group: str, instance: str) -> Consumer:
    """A member of a group that reads committed records only and stores no offsets of its own."""
    return _build(
        Consumer,
        config,
        {
            **_CONSUMER,
            "group.id": config.name(group),
            "group.instance.id": config.name(f"{group}-{instance}"),
            "partition.assignment.strategy": "cooperative-sticky",
            "heartbeat.interval.ms": 2_000,
            "queued.min.messages": 500_000,
            "max.partition.fetch.bytes": 10 << 20,
            "check.crcs": False,
        },
    )


def reader(config: KafkaConfig, **settings: object) -> Consumer:
    """A consumer without a group, for reading topics from chosen offsets, committed records only.

    Assign at once: where it has connected before it knows its topics, it asks for them up to a second later only.
    """
    return _build(
        Consumer,
        config,
        {
            **_CONSUMER,
            "group.id": config.name("reader"),
            "enable.partition.eof": True,
            **settings,
        },
    )


def span_reader(config: KafkaConfig) -> Consumer:
    """A reader for `read_until`: where a transaction's marker is a span's end, only an empty answer tells that."""
    return reader(config, **{"fetch.wait.max.ms": 5})  # the default keeps such an answer back for half a second


def transactional_producer(config: KafkaConfig, transactional_id: str) -> Producer:
    """The producer of one agent instance; call `init_transactions` before anything else."""
    return _build(
        Producer,
        config,
        {
            **_PRODUCER,
            "transactional.id": config.name(transactional_id),
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            # Back-to-back commits meet CONCURRENT_TRANSACTIONS; with the default backoff each would wait 100 ms.
            "retry.backoff.ms": 1,
            "retry.backoff.max.ms": 10,
            # Without it the sending thread wakes up for every few records of a burst. A commit does not wait for it.
            "linger.ms": 1,
        },
    )


def producer(config: KafkaConfig) -> Producer:
    """An idempotent producer without transactions, for feeds."""
    return _build(Producer, config, {**_PRODUCER, "linger.ms": 5})


def operators_producer(config: KafkaConfig) -> Producer:
    """For a few records of an operator, each of them reported, which the broker may hold twice after a lost answer.

    It lives for one write, and the id that an idempotent one asks for first can be half a second late.
    """
    settings = {"enable.idempotence": False, "max.in.flight": 1, "delivery.report.only.error": False, "linger.ms": 0}
    return _build(Producer, config, {**_PRODUCER, **settings})


def admin(config: KafkaConfig) -> AdminClient:
    """A client for topics and offsets."""
    return _build(AdminClient, config, {})


_CONSUMER = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "session.timeout.ms": SESSION_TIMEOUT_MS,
    "fetch.queue.backoff.ms": 5,
    "queued.max.messages.kbytes": 16_384,  # more goes through cold memory
}
_PRODUCER = {
    "enable.idempotence": True,
    "acks": "all",
    "partitioner": PARTITIONER,
    "batch.size": 1_000_000,
    "queue.buffering.max.kbytes": 262_144,
    "queue.buffering.max.messages": 1_000_000,
    "delivery.report.only.error": True,
}


def _build(kind: Any, config: KafkaConfig, settings: dict[str, object]) -> Any:
    try:
        return kind(config.client(**settings, error_cb=_log_error), logger=_client_log)
    except KafkaException as error:
        reason = error.args[0]
        text = reason.str() if isinstance(reason, KafkaError) else str(reason)
        raise BadConfiguration(f"Kafka client settings: {text}{_origin(config, text)}") from error


def _origin(config: KafkaConfig, text: str) -> str:
    """Where the setting that librdkafka's message names was given, as far as that is known."""
    named = next((name for name in config.origins if f'"{name}"' in text), None)
    return "" if named is None else f" (given by {config.origins[named]})"


def _log_error(error: KafkaError) -> None:
    # librdkafka repairs connections by itself; what it cannot repair reaches the caller as an exception.
    log.debug("kafka client: %s", error.str())
