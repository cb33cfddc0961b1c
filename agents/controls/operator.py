"""What an operator does with `controls`: read them, change some fields of one, halt, resume, export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC

import msgspec

from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.confirmed import write_confirmed
from agents.stream.errors import BadConfiguration, MissingTopics, StreamError
from agents.stream.watch import read_whole
from schemas.controls import (
    InvalidControl,
    check_symbol,
    encode_control,
    make_control,
    min_fill_shares,
    parse_control,
)
from schemas.partitioning import partition_of
from schemas.records import EVERY_SYMBOL, Checkpoint, Control, StarControl, State
from schemas.times import rfc3339
from schemas.topics import CHECKPOINTS, CONTROLS, DEFAULT_CONTROLS, QUOTES

_SIGNALS_ROLE = "signals"
_NS = 1_000_000_000
_OLDEST, _NEWEST = 10**18, 2 * 10**18
"""Plausible times in ns: 2001 to 2033."""


class UnknownSymbol(StreamError):
    """There is no control for the symbol."""

    exit_status = 1


class BadControl(BadConfiguration):
    """A field of a control that cannot hold; the text names it."""


@dataclass(frozen=True)
class Held:
    """One control as it stands in the topic; its version is its offset."""

    key: str
    version: int
    control: Control | StarControl


@dataclass(frozen=True)
class Written:
    """One record that was written to `controls`; no control: a tombstone."""

    key: str
    version: int
    control: Control | StarControl | None
    holds: str

    @property
    def warning(self) -> str | None:
        """That the control is valid but opens no position, None when it does."""
        if not isinstance(self.control, Control):
            return None
        lot, least = self.control.lot_shares, min_fill_shares(self.control)
        if lot >= least:
            return None
        return f"{self.key} opens nothing: its lot of {lot:.10g} is below min_fill_shares, {least:.10g}"


def read_controls(config: KafkaConfig) -> dict[str, Held]:
    """The newest valid control of every key, in the order of the keys. Raises NoBroker or MissingTopics."""
    held: dict[str, Held] = {}
    for version, key, control in records(config):
        if control is None:
            held.pop(key, None)
        else:
            held[key] = Held(key, version, control)
    return dict(sorted(held.items()))


def set_control(config: KafkaConfig, symbol: str, changes: Mapping[str, object], decision_seconds: int) -> Written:
    """Change some fields of a symbol's control, or make one. Raises BadControl."""
    _check(symbol)
    if symbol == EVERY_SYMBOL:
        raise BadControl(f"{EVERY_SYMBOL} takes a state only: use mm controls halt --all or resume --all")
    before = read_controls(config).get(symbol)
    fields = {**(msgspec.structs.asdict(before.control) if before else {}), **changes}
    try:
        control = make_control(**fields)
    except InvalidControl as error:
        raise BadControl(f"{symbol}: {error}") from error
    return _write(config, symbol, control, decision_seconds)


def set_state(config: KafkaConfig, symbol: str, state: State, decision_seconds: int) -> Written:
    """Put a symbol that has a control into a state. Raises UnknownSymbol."""
    _present(config, symbol)
    # Now, even if the record that it is based on still waits for its time.
    return set_control(config, symbol, {"state": state, "effective_from": None}, decision_seconds)


def remove(config: KafkaConfig, symbol: str, decision_seconds: int) -> Written:
    """Take a symbol out of the universe. Raises UnknownSymbol."""
    _present(config, symbol)
    return _write(config, symbol, None, decision_seconds)


def halt_all(config: KafkaConfig, decision_seconds: int) -> Written:
    """Halt every symbol, whatever its own control says."""
    return _write(config, EVERY_SYMBOL, StarControl(state=State.HALTED), decision_seconds)


def resume_all(config: KafkaConfig, decision_seconds: int) -> Written:
    """Lift what bounds every symbol. Raises UnknownSymbol when nothing does."""
    if EVERY_SYMBOL not in read_controls(config):
        raise UnknownSymbol(f"nothing bounds all symbols: there is no control {EVERY_SYMBOL}; see mm controls list")
    return _write(config, EVERY_SYMBOL, None, decision_seconds)


def write_defaults(config: KafkaConfig, controls: Mapping[str, Control] = DEFAULT_CONTROLS) -> None:
    """Write the controls of a topic that has just been created."""
    write_confirmed(config, CONTROLS.name, [(symbol, encode_control(control)) for symbol, control in controls.items()])


def parse_time(text: str) -> int:
    """A ts (ns) from digits, or from RFC 3339 text with a zone. Raises BadControl."""
    from datetime import datetime, timedelta

    if text.isdigit():
        ts = int(text)
        if not _OLDEST < ts < _NEWEST:
            raise BadControl(f"effective_from {text}: these are no nanoseconds since 1970 of our days")
        return ts
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadControl(f"effective_from {text}: give nanoseconds since 1970 or a time like 2026-01-31T15:30:00Z")
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(microseconds=1) * 1000


# -- reading and writing ---------------------------------------------------------------------------------------------


def records(config: KafkaConfig) -> Iterator[tuple[int, str, Control | StarControl | None]]:
    """Version, key and control of every valid record of the topic."""
    for message in read_whole(config, CONTROLS.name):
        try:
            key, control = parse_control(message.key(), message.value())
        except InvalidControl:
            continue  # the signals agent sets it aside, and what was in force stays so
        yield message.offset(), key, control


def _check(symbol: str) -> None:
    try:
        check_symbol(symbol)
    except InvalidControl as error:
        raise BadControl(str(error)) from error


def _present(config: KafkaConfig, symbol: str) -> Held:
    _check(symbol)
    held = read_controls(config)
    if symbol == EVERY_SYMBOL or symbol not in held:
        known = ", ".join(key for key in held if key != EVERY_SYMBOL) or "none"
        raise UnknownSymbol(f"there is no control for {symbol}; there are: {known}")
    return held[symbol]


def _write(config: KafkaConfig, key: str, control: Control | StarControl | None, decision_seconds: int) -> Written:
    clock = _clock(config, key)
    value = encode_control(control) if control is not None else None
    version = write_confirmed(config, CONTROLS.name, [(key, value)])[0]
    effective_from = control.effective_from if control is not None else None
    return Written(key, version, control, _holds(effective_from, clock, decision_seconds * _NS))


def _holds(effective_from: int | None, clock: int | None, step: int) -> str:
    """From when a control holds, as far as that is known before the signals agent has read it."""
    if effective_from is not None and (clock is None or effective_from > clock):
        return f"holds from {rfc3339(-(-effective_from // step) * step)}"
    if clock is None:
        return "holds from the next decision time (no signals agent has run yet)"
    return f"holds from the next decision time, {rfc3339((clock // step + 1) * step)} or later"


def _clock(config: KafkaConfig, key: str) -> int | None:
    """The event time that the signals agent has reached for a key, None if it has stored none."""
    try:
        partitions = topics.partition_counts(clients.admin(config), config).get(config.name(QUOTES.name), 1)
        checkpoints = [msgspec.json.decode(m.value(), type=Checkpoint) for m in read_whole(config, CHECKPOINTS.name)]
    except MissingTopics:
        return None
    clocks = {
        at.partition: msgspec.convert(at.progress, _Progress).clock
        for at in checkpoints
        if at.role == _SIGNALS_ROLE and at.progress is not None
    }
    if key == EVERY_SYMBOL:
        return max(clocks.values(), default=None)
    return clocks.get(partition_of(key, partitions))


class _Progress(msgspec.Struct):
    clock: int
