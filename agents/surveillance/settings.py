"""Rules and thresholds of surveillance, read from a TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from agents.stream.errors import BadConfiguration
from schemas.records import Severity

Positive = Annotated[float, Meta(gt=0)]
Minutes = Annotated[int, Meta(ge=1, le=240)]
_MISSED_DECISIONS = 3


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every rule has."""

    severity: Severity = Severity.WARNING
    enabled: bool = True


class ValueRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Raised when a value is above a bound."""

    above: Positive


class WindowRule(ValueRule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Raised when a sum over the last minutes of event time, whole minutes, is above a bound."""

    minutes: Minutes = 5


class QuietRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Raised, or cleared, when something has been quiet for so long."""

    seconds: Positive


class SurveillanceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every rule, and how much is kept.

    trade_count: trades of a symbol; turnover: their dollars;
    drawdown: dollars by which a symbol's net is below its highest;
    position: a position as a part of its limit;
    jump: distance of the mid from its moving average in standard deviations, at decision times;
    silent_symbol: age of a symbol's quote, in event time, while others move;
    grid: wall time without decisions of a partition that has symbols to decide on; `load` makes it long enough;
    dead_letters: raised by the first one, cleared after so long without another (wall time);
    kept_minutes: windows kept for each symbol; clear_below: a value rule is cleared at this part of its bound.
    """

    trade_count: WindowRule = WindowRule(above=20)
    turnover: WindowRule = WindowRule(above=250_000)
    drawdown: ValueRule = ValueRule(above=1_000, severity=Severity.CRITICAL)
    position: ValueRule = ValueRule(above=0.9, severity=Severity.INFO)
    jump: ValueRule = ValueRule(above=6)
    silent_symbol: QuietRule = QuietRule(seconds=60)
    grid: QuietRule = QuietRule(seconds=30, severity=Severity.CRITICAL)
    dead_letters: QuietRule = QuietRule(seconds=300)
    kept_minutes: Minutes = 15
    clear_below: Annotated[float, Meta(gt=0, le=1)] = 0.8

    def __post_init__(self) -> None:
        for name, rule in (("trade_count", self.trade_count), ("turnover", self.turnover)):
            if rule.minutes > self.kept_minutes:
                raise ValueError(f"{name}.minutes must be at most kept_minutes ({self.kept_minutes})")


def load(file: Path | None, decision_seconds: int) -> SurveillanceSettings:
    """The settings of a TOML file, over the defaults, for a desk that decides so often.

    `grid` waits for three decisions at least, whatever is given: less would call a desk stopped between two.
    Raises BadConfiguration that names the field.
    """
    settings = SurveillanceSettings() if file is None else _read(file)
    seconds = max(settings.grid.seconds, _MISSED_DECISIONS * decision_seconds)
    return msgspec.structs.replace(settings, grid=msgspec.structs.replace(settings.grid, seconds=seconds))


def _read(file: Path) -> SurveillanceSettings:
    defaults = msgspec.to_builtins(SurveillanceSettings())
    try:
        given = tomllib.loads(file.read_text())
        for name, value in given.items():
            # a rule that is given in part keeps its own defaults, which are not those of every rule
            known = defaults.get(name)
            if isinstance(known, dict) and isinstance(value, dict):
                given[name] = {**known, **value}
        return msgspec.convert(given, SurveillanceSettings)
    except OSError as error:
        raise BadConfiguration(f"cannot read the surveillance rules {file}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadConfiguration(f"{file}: {error}") from error
