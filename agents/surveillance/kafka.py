"""The project's Kafka settings in Faust's words."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from typing import Any

import faust

from agents.stream.config import KafkaConfig
from agents.stream.errors import BadConfiguration

log = logging.getLogger(__name__)
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_TRANSLATED = {
    "bootstrap.servers",
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
    "client.id",
}


def faust_settings(config: KafkaConfig) -> dict[str, Any]:
    """Faust's settings for where Kafka is and how to get in.

    Raises BadConfiguration for security settings that Faust's client does not know; settings of librdkafka that
    tune are left out, with a line in the log.
    """
    properties = config.properties
    for name in sorted(set(properties) - _TRANSLATED):
        if name.startswith(("sasl.", "ssl.")):
            raise BadConfiguration(f"surveillance cannot use {name}; known are {', '.join(sorted(_TRANSLATED))}")
        log.info("%s tunes another client and is left out", name)
    hosts = [host.strip() for host in config.bootstrap.split(",") if host.strip()]
    settings: dict[str, Any] = {"broker": ";".join(f"kafka://{host}" for host in hosts)}
    if "client.id" in properties:
        settings["broker_client_id"] = properties["client.id"]
    credentials = _credentials(properties)
    if credentials is not None:
        settings["broker_credentials"] = credentials
    return settings


def _credentials(properties: Mapping[str, str]) -> faust.SASLCredentials | faust.SSLCredentials | None:
    protocol = properties.get("security.protocol", "PLAINTEXT").upper()
    if protocol not in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"):
        raise BadConfiguration(f"security.protocol={protocol}: use PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
    context = _ssl_context(properties) if protocol.endswith("SSL") else None
    if not protocol.startswith("SASL"):
        return faust.SSLCredentials(context) if context else None
    mechanism = properties.get("sasl.mechanism", properties.get("sasl.mechanisms", "PLAIN")).upper()
    if mechanism not in _MECHANISMS:
        raise BadConfiguration(f"sasl.mechanism={mechanism}: surveillance knows {', '.join(_MECHANISMS)}")
    return faust.SASLCredentials(
        username=properties.get("sasl.username"),
        password=properties.get("sasl.password"),
        mechanism=mechanism,
        ssl_context=context,
    )


def _ssl_context(properties: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=properties.get("ssl.ca.location"))
        if "ssl.certificate.location" in properties:
            context.load_cert_chain(
                properties["ssl.certificate.location"],
                properties.get("ssl.key.location"),
                properties.get("ssl.key.password"),
            )
    except (OSError, ssl.SSLError) as error:
        raise BadConfiguration(f"certificates: {error}") from error
    if properties.get("ssl.endpoint.identification.algorithm", "https").lower() == "none":
        context.check_hostname = False
    if properties.get("enable.ssl.certificate.verification", "true").lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
