"""Options that many commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from agents.configuration import Configuration, Given

_PLACE = {
    "bootstrap": Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Kafka; else MM_BOOTSTRAP, mm.toml, the embedded broker.")
    ],
    "prefix": Annotated[str | None, typer.Option(help="Stands before every name on Kafka; else MM_PREFIX, mm.toml.")],
    "config": Annotated[Path | None, typer.Option(metavar="FILE", help="Instead of mm.toml in this folder.")],
    "kafka_properties": Annotated[
        Path | None, typer.Option(metavar="FILE", help="librdkafka settings, name=value lines (TLS, SASL, …).")
    ],
}
_SET = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting of the strategy, as tau_seconds=30; may be repeated."),
]


def configured(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say where Kafka is; the command gets them as its first argument, a `Configuration`."""
    return _with_options(command, _PLACE)


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """As `configured`, and --set."""
    return _with_options(command, {**_PLACE, "settings": _SET})


def with_settings_alone(command: Callable[..., None]) -> Callable[..., None]:
    """Add --set and --config only, for what brings a Kafka of its own."""
    return _with_options(command, {"config": _PLACE["config"], "settings": _SET})


def _with_options(command: Callable[..., None], options: dict[str, Any]) -> Callable[..., None]:
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in options.items()
    ]

    @functools.wraps(command)
    def wrapper(*arguments: Any, **values: Any) -> None:
        given = {name: values.pop(name) for name in options}
        settings = tuple(given.pop("settings", None) or ())
        command(Configuration(Given(**given, settings=settings)), *arguments, **values)

    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + added
    # typer reads both
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper
