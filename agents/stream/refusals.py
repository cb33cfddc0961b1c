"""Refusals by the broker that do not pass by themselves, and what helps."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient, TopicDescription

from agents.stream.errors import Refused

_SECONDS = 10.0
_LARGER = "raise max.message.bytes of that topic to 1048588, Kafka's own default, or more"
_LARGER_CLIENT = "raise message.max.bytes among the agent's Kafka settings, and max.message.bytes of the topic"
_RIGHTS = "give the agent's user the rights in deploy/acls.txt"
_REMEDIES: dict[int, str] = {
    KafkaError.MSG_SIZE_TOO_LARGE: _LARGER,
    KafkaError.RECORD_LIST_TOO_LARGE: _LARGER,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.GROUP_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: _RIGHTS,
}


def refused(reason: KafkaError) -> Refused | None:
    """The error for what a broker has refused and will refuse again; None for any other."""
    remedy = _REMEDIES.get(reason.code())
    text = reason.str().split(" (broker")[0].split(" (after")[0]  # the rest is for whoever debugs the client
    return None if remedy is None else Refused(text, remedy)


def too_large(topic: str, size: int) -> Refused:
    """The error for a record of `size` bytes that the client itself does not take."""
    return Refused(f"a record of {size:,} bytes for {topic} is larger than this client may send", _LARGER_CLIENT)


def told(refusal: Refused, unwritable: Iterable[str] = ()) -> str:
    """One line for whoever has to mend it. unwritable: topics that the agent may not write."""
    named = ", ".join(unwritable)
    lacking = f" (it may not write {named})" if named else ""
    return f"output refused: {refusal}; {refusal.remedy}{lacking}. See docs/operations.md, refused output."


def unwritable_of(admin: AdminClient, topics: Iterable[str]) -> list[str]:
    """Those of the topics, by full name, that this client's user may not write, as far as the broker tells."""
    names = sorted(topics)
    asked = admin.describe_topics(TopicCollection(names), include_authorized_operations=True, request_timeout=_SECONDS)
    return [name for name in names if not _may_write(asked[name])]


def _may_write(described: Future[TopicDescription]) -> bool:
    try:
        allowed = described.result().authorized_operations
    except KafkaException as error:
        return error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED
    # None: the broker has no authorizer.
    return allowed is None or AclOperation.WRITE in allowed
