"""Rules from a file, and Kafka's settings in Faust's words."""

from __future__ import annotations

import ssl
from pathlib import Path

import faust
import pytest

from agents.stream.config import KafkaConfig
from agents.stream.errors import BadConfiguration
from agents.surveillance.kafka import faust_settings
from agents.surveillance.settings import SurveillanceSettings, load
from schemas.records import Severity


def test_a_rule_that_is_given_in_part_keeps_the_rest_of_its_own_defaults(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text("[drawdown]\nabove = 5\n[turnover]\nminutes = 2\n")
    settings, defaults = load(file, 10), SurveillanceSettings()
    assert settings.drawdown.severity is defaults.drawdown.severity is Severity.CRITICAL
    assert settings.turnover.above == defaults.turnover.above


def test_no_file_gives_the_defaults() -> None:
    assert load(None, 10) == SurveillanceSettings()


@pytest.mark.parametrize(("given", "decision_seconds", "seconds"), [(30, 60, 180), (2, 10, 30), (90, 10, 90)])
def test_the_grid_is_not_called_stopped_before_three_decisions_have_been_missed(
    tmp_path: Path, given: int, decision_seconds: int, seconds: int
) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(f'[grid]\nseconds = {given}\nseverity = "WARNING"\n')
    rule = load(file, decision_seconds).grid
    assert (rule.seconds, rule.severity) == (seconds, Severity.WARNING)


def test_a_file_changes_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text('[drawdown]\nabove = 5.5\nseverity = "INFO"\n[grid]\nseconds = 5\nenabled = false\n')
    settings = load(file, 1)
    assert (settings.drawdown.above, settings.drawdown.severity) == (5.5, Severity.INFO)
    assert (settings.grid.seconds, settings.grid.enabled) == (5, False)
    assert settings.turnover == SurveillanceSettings().turnover


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[drawdown]\nabove = -1\n", "$.drawdown.above"),
        ("[drawdawn]\nabove = 1\n", "drawdawn"),
        ("[jump]\nabove = 1\nminutes = 3\n", "minutes"),
        ("kept_minutes = 3\n", "trade_count.minutes must be at most kept_minutes"),
        ("[jump", "rules.toml"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_by_field(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(text)
    with pytest.raises(BadConfiguration, match=told.replace("$", r"\$").replace(".", r"\.")):
        load(file, 10)


def test_several_brokers_become_several_addresses() -> None:
    settings = faust_settings(KafkaConfig("a:1, b:2"))
    assert settings == {"broker": "kafka://a:1;kafka://b:2"}


def test_sasl_over_tls_is_translated() -> None:
    properties = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "u",
        "sasl.password": "p",
        "ssl.endpoint.identification.algorithm": "none",
    }
    credentials = faust_settings(KafkaConfig("a:1", "", properties))["broker_credentials"]
    assert isinstance(credentials, faust.SASLCredentials)
    assert (credentials.username, credentials.password) == ("u", "p")
    assert (credentials.protocol.value, credentials.mechanism.value) == ("SASL_SSL", "SCRAM-SHA-512")
    assert credentials.ssl_context is not None
    assert (credentials.ssl_context.check_hostname, credentials.ssl_context.verify_mode) == (False, ssl.CERT_REQUIRED)


def test_sasl_without_tls_and_tls_without_sasl() -> None:
    plain = faust_settings(KafkaConfig("a:1", "", {"security.protocol": "SASL_PLAINTEXT", "sasl.username": "u"}))
    assert plain["broker_credentials"].protocol.value == "SASL_PLAINTEXT"
    tls = faust_settings(KafkaConfig("a:1", "", {"security.protocol": "ssl"}))
    assert isinstance(tls["broker_credentials"], faust.SSLCredentials)


@pytest.mark.parametrize(
    "properties",
    [
        {"security.protocol": "SASL_SSL", "sasl.mechanism": "GSSAPI"},
        {"security.protocol": "QUIC"},
        {"sasl.oauthbearer.config": "x"},
        {"security.protocol": "SSL", "ssl.ca.location": "/nowhere/ca.pem"},
    ],
)
def test_security_that_cannot_be_translated_is_refused_not_dropped(properties: dict[str, str]) -> None:
    with pytest.raises(BadConfiguration):
        faust_settings(KafkaConfig("a:1", "", properties))


def test_settings_that_tune_librdkafka_are_left_out() -> None:
    assert "linger.ms" not in faust_settings(KafkaConfig("a:1", "", {"linger.ms": "5"}))
