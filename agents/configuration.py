"""What a command is given: where Kafka is, and the strategy's settings.

Each value comes from the first place that has it: an option, an ``MM_*`` variable, ``mm.toml``, the default.
"""

from __future__ import annotations

import functools
import logging
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.stream.config import KafkaConfig, properties_from, variable_of
from agents.stream.errors import BadConfiguration, NoBroker

if TYPE_CHECKING:
    from agents.strategy.settings import Settings

log = logging.getLogger(__name__)

FILE_NAME = "mm.toml"
_SECTIONS = ("kafka", "strategy")
_KAFKA_NAMES = {"bootstrap", "prefix", "properties_file"}
_OTHER_VARIABLES = {
    *("MM_BOOTSTRAP", "MM_PREFIX", "MM_KAFKA_PROPERTIES", "MM_CONFIG", "MM_HOME", "MM_DEBUG", "MM_CONTAINER"),
    *("MM_AGENT", "MM_LIFELINE", "MM_TEST_BOOTSTRAP", "MM_DASHBOARD_PASSWORD"),
}


def home() -> Path:
    """The folder of the embedded broker, of logs and of what runs: MM_HOME, else in the user's state folder."""
    named = os.environ.get("MM_HOME")
    if named:
        return Path(named).expanduser().absolute()
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "market-maker"


def broker_home() -> Path:
    """The folder of the embedded broker."""
    return home() / "broker"


@dataclass(frozen=True)
class Given:
    """The options of one command line, as they were given. settings: ``name=value`` each."""

    bootstrap: str | None = None
    prefix: str | None = None
    config: Path | None = None
    kafka_properties: Path | None = None
    settings: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        """The same options for another process of this project."""
        named = {
            "--bootstrap": self.bootstrap,
            "--prefix": self.prefix,
            "--config": self.config,
            "--kafka-properties": self.kafka_properties,
        }
        options = [f"{name}={value}" for name, value in named.items() if value is not None]
        return [*options, *(f"--set={setting}" for setting in self.settings)]


class Configuration:
    """Everything that is configured, for one command."""

    def __init__(self, given: Given, environment: Mapping[str, str] = os.environ) -> None:
        self._given = given
        self._environment = environment
        self._file_name = given.config or environment.get("MM_CONFIG") or FILE_NAME

    @property
    def given(self) -> Given:
        """The options of the command line."""
        return self._given

    @property
    def prefix(self) -> str:
        """What stands before every topic's, group's and transaction's name. Raises BadConfiguration."""
        return self._given.prefix or self._value("MM_PREFIX", "prefix") or ""

    def kafka(self) -> KafkaConfig:
        """How clients reach Kafka. Raises BadConfiguration, or NoBroker when no address is known."""
        named = self._given.kafka_properties or self._value("MM_KAFKA_PROPERTIES", "properties_file")
        from_file = properties_from({}, Path(named).expanduser() if named else None)
        own = {name: str(value) for name, value in self._section("kafka").items() if name not in _KAFKA_NAMES}
        from_environment = properties_from(self._environment)
        properties = {**own, **from_file, **from_environment}
        origins = {
            **dict.fromkeys(own, f"{self._file_name} [kafka]"),
            **dict.fromkeys(from_file, str(named)),
            **{name: variable_of(name) for name in from_environment},
        }
        address = properties.pop("bootstrap.servers", None)
        bootstrap = self._given.bootstrap or self._environment.get("MM_BOOTSTRAP") or address
        bootstrap = bootstrap or self._section("kafka").get("bootstrap") or _embedded_bootstrap()
        return KafkaConfig(str(bootstrap), self.prefix, properties, origins)

    def settings(self) -> Settings:
        """The strategy's settings. Raises BadConfiguration that names the setting, and where it was given."""
        from agents.strategy.settings import Settings

        values: dict[str, Any] = {}
        for where, name, text in (*self._settings_of_file(), *self._settings_of_environment(), *self._given_settings()):
            values[name] = _parse(where, name, text)
        return Settings(**values)

    def _value(self, variable: str, name: str) -> str | None:
        value = self._environment.get(variable) or self._section("kafka").get(name)
        return None if value is None else str(value)

    @functools.cached_property
    def _file(self) -> Mapping[str, Any]:
        named = self._given.config or self._environment.get("MM_CONFIG")
        return _read(Path(named).expanduser() if named else Path(FILE_NAME), must_exist=bool(named))

    def _section(self, name: str) -> Mapping[str, Any]:
        section = self._file.get(name, {})
        if not isinstance(section, Mapping):
            raise BadConfiguration(f"{self._file_name}: [{name}] must be a section")
        return _flat(section)

    def _settings_of_file(self) -> Iterable[tuple[str, str, str]]:
        for name, value in self._section("strategy").items():
            yield f"{self._file_name} [strategy]", name, str(value)

    def _settings_of_environment(self) -> Iterable[tuple[str, str, str]]:
        from agents.strategy.settings import Settings

        for variable, value in self._environment.items():
            name = variable.removeprefix("MM_").lower()
            if not variable.startswith("MM_") or variable in _OTHER_VARIABLES:
                continue
            if name in Settings.__struct_fields__:
                yield variable, name, value
            else:
                log.warning("%s is set, but there is no setting of this name", variable)

    def _given_settings(self) -> Iterable[tuple[str, str, str]]:
        for setting in self._given.settings:
            name, equals, text = setting.partition("=")
            if not equals:
                raise BadConfiguration(f"--set {setting}: expected name=value")
            yield "--set", name.strip(), text.strip()


def _parse(where: str, name: str, text: str) -> object:
    from agents.strategy.settings import parse_setting

    try:
        return parse_setting(name, text)
    except ValueError as error:
        raise BadConfiguration(f"{where}: {error}") from error


def _read(path: Path, must_exist: bool) -> Mapping[str, Any]:
    """The configuration file's sections."""
    if not must_exist and not path.exists():
        return {}
    try:
        sections = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"cannot read {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise BadConfiguration(f"{path}: {error}") from error
    for section in sections:
        if section not in _SECTIONS:
            raise BadConfiguration(f"{path}: there is no section [{section}]; there are {', '.join(_SECTIONS)}")
    return sections


def _flat(section: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Names with dots, which TOML takes for tables: ``security.protocol = "SSL"`` is one setting."""
    flat: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{before}{name}."))
        else:
            flat[before + name] = value
    return flat


def _embedded_bootstrap() -> str:
    from deploy import broker

    running = broker.status(broker_home())
    if running is None:
        raise NoBroker(
            "no Kafka broker is known: none is named (--bootstrap, MM_BOOTSTRAP) and the embedded one does not run; "
            "start it with: mm broker up"
        )
    return running.bootstrap
