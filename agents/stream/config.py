"""Where Kafka is and how clients talk to it; any librdkafka setting can be given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agents.stream.errors import BadConfiguration

_ENVIRONMENT_PREFIX = "KAFKA_"
# Variables of Kafka's own scripts and images, which are no settings of a client.
_NOT_CLIENT_SETTINGS = re.compile(
    r"KAFKA_(HOME|OPTS|HEAP_OPTS|JVM_PERFORMANCE_OPTS|GC_LOG_OPTS|LOG4J_OPTS|JMX_OPTS|JMX_PORT|DEBUG|VERSION)$"
)
SESSION_TIMEOUT_MS = 6_000
_RESERVED = {
    "group.id",
    "group.instance.id",
    "transactional.id",
    "isolation.level",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "auto.offset.reset",
    "partition.assignment.strategy",
    "group.protocol",
    "enable.partition.eof",
    "acks",
    "delivery.report.only.error",
    "partitioner",
}
_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,64}")


@dataclass(frozen=True)
class KafkaConfig:
    """Bootstrap address, prefix of every name, and librdkafka settings for all clients.

    origins: where each of these settings was given, for messages.
    """

    bootstrap: str
    prefix: str = ""
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)
    origins: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.bootstrap:
            raise BadConfiguration("the bootstrap address is empty; give host:port, or start one with: mm broker up")
        if not _PREFIX.fullmatch(self.prefix):
            raise BadConfiguration(f"the prefix {self.prefix!r}: use letters, digits, '.', '_' and '-' only")
        for name in sorted(_RESERVED & set(self.properties)):
            raise BadConfiguration(f"{name} is what this product rests on and cannot be set")

    def name(self, plain: str) -> str:
        """A topic's, group's or transaction's name with the prefix."""
        return self.prefix + plain

    def client(self, **settings: object) -> dict[str, object]:
        """Settings of one client: the user's over these."""
        return {
            # A broker that was away for a while should be found again within a second, not ten.
            "reconnect.backoff.max.ms": 1000,
            "bootstrap.servers": self.bootstrap,
            **settings,
            **self.properties,
        }

    @property
    def session_seconds(self) -> float:
        """How long a group waits for a member that says nothing."""
        return int(self.properties.get("session.timeout.ms", SESSION_TIMEOUT_MS)) / 1000


def variable_of(name: str) -> str:
    """The environment variable of a librdkafka setting."""
    return _ENVIRONMENT_PREFIX + name.upper().replace(".", "_")


def properties_from(environment: Mapping[str, str], file: Path | None = None) -> dict[str, str]:
    """Librdkafka settings from a properties file (``name=value`` lines) and, over it, from ``KAFKA_*`` variables.

    KAFKA_SASL_USERNAME becomes sasl.username. Raises BadConfiguration when the file cannot be read.
    """
    properties: dict[str, str] = {}
    if file is not None:
        try:
            lines = file.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise BadConfiguration(f"cannot read the properties file {file}: {error}") from error
        for number, line in enumerate(lines, 1):
            text = line.strip()
            if not text or text[0] in "#!":
                continue
            name, equals, value = text.partition("=")
            if not equals:
                raise BadConfiguration(f"{file}, line {number}: expected name=value")
            properties[name.strip()] = value.strip()
    for variable, value in environment.items():
        if variable.startswith(_ENVIRONMENT_PREFIX) and not _NOT_CLIENT_SETTINGS.match(variable):
            properties[variable.removeprefix(_ENVIRONMENT_PREFIX).lower().replace("_", ".")] = value
    return properties
