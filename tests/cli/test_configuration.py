"""Where values come from, and what is said about those that cannot be used."""

from pathlib import Path

import pytest

from agents.configuration import Configuration, Given
from agents.stream.errors import BadConfiguration, NoBroker


def test_an_option_wins_over_the_environment_over_the_file_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "mm.toml"
    file.write_text("[strategy]\ntau_seconds = 1\nband_sd = 2\ndecision_seconds = 3\n")
    environment = {"MM_TAU_SECONDS": "10", "MM_BAND_SD": "20"}
    settings = Configuration(Given(config=file, settings=("tau_seconds=100",)), environment).settings()
    assert (settings.tau_seconds, settings.band_sd, settings.decision_seconds) == (100, 20, 3)
    assert settings.mark_seconds == 1


def test_mm_toml_of_the_current_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "mm.toml").write_text('[strategy]\nmarks = "off"\ncap_by_size = true\n')
    settings = Configuration(Given(), {}).settings()
    assert settings.marks == "off" and settings.cap_by_size is True


@pytest.mark.parametrize(
    ("given", "environment", "wanted"),
    [
        (Given(bootstrap="option:1"), {"MM_BOOTSTRAP": "mm:1", "KAFKA_BOOTSTRAP_SERVERS": "kafka:1"}, "option:1"),
        (Given(), {"MM_BOOTSTRAP": "mm:1", "KAFKA_BOOTSTRAP_SERVERS": "kafka:1"}, "mm:1"),
        (Given(), {"KAFKA_BOOTSTRAP_SERVERS": "kafka:1"}, "kafka:1"),
        (Given(), {}, "file:1"),
    ],
)
def test_a_given_bootstrap_address_wins(given: Given, environment: dict[str, str], wanted: str, tmp_path: Path) -> None:
    (tmp_path / "mm.toml").write_text('[kafka]\nbootstrap = "file:1"\nprefix = "desk-"\nsecurity.protocol = "SSL"\n')
    config = Configuration(given, environment).kafka()
    assert config.client()["bootstrap.servers"] == wanted
    assert config.prefix == "desk-"
    assert config.client()["security.protocol"] == "SSL"


def test_a_librdkafka_setting_of_the_user_wins_over_the_products_own() -> None:
    config = Configuration(Given(bootstrap="a:1"), {"KAFKA_SESSION_TIMEOUT_MS": "45000"}).kafka()
    assert config.client(**{"session.timeout.ms": 6_000})["session.timeout.ms"] == "45000"
    assert config.session_seconds == 45.0


@pytest.mark.parametrize("name", ["isolation.level", "partition.assignment.strategy", "acks"])
def test_what_exactly_once_rests_on_cannot_be_set(name: str) -> None:
    with pytest.raises(BadConfiguration, match=f"{name} is what this product rests on and cannot be set"):
        Configuration(Given(bootstrap="a:1"), {f"KAFKA_{name.upper().replace('.', '_')}": "1"}).kafka()


def test_without_any_broker_the_error_names_the_command_that_starts_one() -> None:
    with pytest.raises(NoBroker, match="mm broker up"):
        Configuration(Given(), {}).kafka()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[strategie]\n", r"no section \[strategie\]"),
        ("[strategy]\ntau = 1\n", "no setting 'tau'"),
        ("[strategy]\ntau_seconds = -1\n", "tau_seconds"),
        ("[strategy\n", "mm.toml"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mm.toml").write_text(text)
    with pytest.raises(BadConfiguration, match=said):
        Configuration(Given(), {}).settings()


@pytest.mark.parametrize("setting", ["tau_seconds=abc", "tau_seconds=-1", "nonsense=1", "tau_seconds"])
def test_a_wrong_setting_is_named(setting: str) -> None:
    with pytest.raises(BadConfiguration, match=setting.split("=")[0]):
        Configuration(Given(settings=(setting,)), {}).settings()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="absent"):
        Configuration(Given(config=tmp_path / "absent.toml"), {}).settings()


def test_another_process_gets_the_same_options() -> None:
    given = Given(bootstrap="a:1", prefix="p-", settings=("tau_seconds=1",))
    assert given.arguments == ["--bootstrap=a:1", "--prefix=p-", "--set=tau_seconds=1"]
