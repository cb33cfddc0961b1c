"""Whether the topics on the broker are cleaned up as their records need it."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from agents.stream.config import KafkaConfig
from agents.stream.topics import no_broker
from schemas.topics import Topic

_POLICY = "cleanup.policy"
_SECONDS = 10.0


def differing_policies(admin: AdminClient, config: KafkaConfig, topics: Iterable[Topic]) -> list[str]:
    """One line for each existing topic whose cleanup policy is not the one it was made for. Raises NoBroker."""
    wanted = {config.name(topic.name): topic.settings[_POLICY] for topic in topics}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in wanted]
    lines = []
    for resource, future in admin.describe_configs(resources, request_timeout=_SECONDS).items():
        try:
            found = future.result()[_POLICY].value
        except KafkaException as error:
            raise no_broker(config, error) from error
        if found != wanted[resource.name]:
            lines.append(f"{resource.name} has cleanup.policy {found} and must have {wanted[resource.name]}")
    return sorted(lines)
