"""What the command line says about a backtest, read into values: settings, sweeps, durations, dates."""

from __future__ import annotations

import datetime
import itertools
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from agents.backtest.report import Sweep
from agents.strategy.settings import Settings, parse_setting
from agents.stream.errors import BadConfiguration

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|ms|s|m|h)")
_NS_OF = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000}
_UNITS = {"_seconds": "s", "_minutes": "m"}
_MOST_SETTINGS = 1_000


def parse_duration(name: str, text: str) -> int:
    """Nanoseconds of a duration with a unit, as 250ms. Raises BadConfiguration."""
    match = _DURATION.fullmatch(text.strip())
    if text.strip() == "0":
        return 0
    if not match:
        raise BadConfiguration(f"{name} {text}: expected a time with its unit, as 250ms or 2s")
    return round(float(match[1]) * _NS_OF[match[2]])


def parse_date(name: str, text: str | None) -> datetime.date | None:
    """A date from YYYY-MM-DD. Raises BadConfiguration."""
    if text is None:
        return None
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise BadConfiguration(f"{name} {text}: expected a date, as 2013-10-07") from None


def full_setting(text: str) -> str:
    """A setting ``name=value`` by its full name and in its own unit: ``tau=1m`` is ``tau_seconds=60``.

    Raises BadConfiguration for a name that is no setting's, or the beginning of several.
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        raise BadConfiguration(f"{text}: expected name=value")
    known = Settings.__struct_fields__
    fits = [name] if name in known else [full for full in known if full.startswith(f"{name}_")]
    if len(fits) != 1:
        raise BadConfiguration(f"there is no setting {name!r}; there are {', '.join(known)}")
    unit = next((unit for ending, unit in _UNITS.items() if fits[0].endswith(ending)), None)
    match = _DURATION.fullmatch(value)
    if unit and match:
        value = f"{parse_duration(name, value) / _NS_OF[unit]:.15g}"
    return f"{fits[0]}={value}"


def parse_sweep(texts: Sequence[str]) -> Sweep:
    """Settings to vary, each as ``name=value,value,…``. Raises BadConfiguration."""
    values: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, listed = text.partition("=")
        if not equals or not listed:
            raise BadConfiguration(f"--sweep {text}: expected name=value,value,…")
        for value in listed.split(","):
            full, _, plain = full_setting(f"{name}={value}").partition("=")
            try:
                values.setdefault(full, []).append(parse_setting(full, plain))
            except ValueError as error:
                raise BadConfiguration(f"--sweep {text}: {error}") from error
    for name, listed_values in values.items():
        if len(set(listed_values)) < len(listed_values):
            raise BadConfiguration(f"--sweep: a value of {name} is given twice")
    return Sweep(values)


def swept_settings(base: Settings, sweep: Sweep) -> tuple[Settings, ...]:
    """Every combination of the swept values over the other settings. Raises BadConfiguration."""
    names = list(sweep.values)
    combinations = list(itertools.product(*sweep.values.values()))
    if len(combinations) > _MOST_SETTINGS:
        raise BadConfiguration(f"the sweep has {len(combinations)} settings; {_MOST_SETTINGS} are the most")
    return tuple(msgspec.structs.replace(base, **dict(zip(names, values, strict=True))) for values in combinations)
