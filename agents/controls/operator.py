"""What an operator does with `controls`: read them, change some fields of one, halt, resume, export."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec

from agents.stream import clients, topics
from agents.stream.background import in_background
from agents.stream.config import KafkaConfig
from agents.stream.confirmed import write_confirmed
from agents.stream.errors import BadConfiguration, HeldBack, StreamError
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
from schemas.times import NS, rfc3339
from schemas.topics import CHECKPOINTS, CONTROLS, DEFAULT_CONTROLS, QUOTES

_SIGNALS_ROLE = "signals"
_CLOCK_SECONDS = 1.0
_OLDEST, _NEWEST = 10**18, 2 * 10**18
"""Plausible times in ns: 2001 to 2033."""
_FRACTION = re.compile(r"(.*:\d\d)\.(\d+)(\D.*)")


Recorded = tuple[int, str, Control | StarControl | None]
"""One record of `controls`: version, key, control (None: a tombstone)."""
Check = Callable[[], None]
"""Called right before a record is written; what it raises keeps it from being written."""


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
        """A warning that a valid control opens no position; None if it opens some."""
        if not isinstance(self.control, Control):
            return None
        lot, least = self.control.lot_shares, min_fill_shares(self.control)
        if lot >= least:
            return None
        return f"{self.key} opens nothing: its lot of {lot:.10g} is below min_fill_shares, {least:.10g}"


def read_controls(config: KafkaConfig) -> dict[str, Held]:
    """The newest valid control of every key, in the order of the keys. Raises NoBroker or MissingTopics."""
    return dict(sorted(_held(read_whole(config, CONTROLS.name)).items()))


def _no_check() -> None: ...


def set_control(
    config: KafkaConfig, symbol: str, changes: Mapping[str, object], decision_seconds: int, check: Check = _no_check
) -> Written:
    """Change some fields of a symbol's control, or make one. Raises BadControl."""
    _check(symbol)
    if symbol == EVERY_SYMBOL:
        raise BadControl(f"{EVERY_SYMBOL} takes a state only: use mm controls halt --all or resume --all")
    desk = _look(config)
    control = _changed(symbol, desk.held.get(symbol), changes)
    return _write(config, symbol, control, decision_seconds, partial(desk.clock, symbol), check)


def set_state(
    config: KafkaConfig, symbol: str, state: State, decision_seconds: int, check: Check = _no_check
) -> Written:
    """Put a symbol that has a control into a state. Raises UnknownSymbol."""
    _check(symbol)
    desk = _look(config)
    # Now, even if the record that it is based on still waits for its time.
    control = _changed(symbol, desk.present(symbol), {"state": state, "effective_from": None})
    return _write(config, symbol, control, decision_seconds, partial(desk.clock, symbol), check)


def remove(config: KafkaConfig, symbol: str, decision_seconds: int, check: Check = _no_check) -> Written:
    """Take a symbol out of the universe. Raises UnknownSymbol."""
    _check(symbol)
    desk = _look(config)
    desk.present(symbol)
    return _write(config, symbol, None, decision_seconds, partial(desk.clock, symbol), check)


def halt_all(config: KafkaConfig, decision_seconds: int) -> Written:
    """Halt every symbol, whatever its own control says. Nothing is read before it is written."""
    # Meanwhile: the clocks only tell when it will hold.
    reading = in_background("clocks", lambda: _clocks(read_whole(config, CHECKPOINTS.name, patience=_CLOCK_SECONDS)))

    def clock() -> int | None:
        try:
            return max(reading.result(_CLOCK_SECONDS).values(), default=None)
        except (StreamError, TimeoutError):
            return None

    return _write(config, EVERY_SYMBOL, StarControl(state=State.HALTED), decision_seconds, clock)


def resume_all(config: KafkaConfig, decision_seconds: int, check: Check = _no_check) -> Written:
    """Lift what bounds every symbol. Raises UnknownSymbol when nothing does."""
    desk = _look(config)
    if EVERY_SYMBOL not in desk.held:
        raise UnknownSymbol(f"nothing bounds all symbols: there is no control {EVERY_SYMBOL}; see mm controls list")
    return _write(config, EVERY_SYMBOL, None, decision_seconds, partial(desk.clock, EVERY_SYMBOL), check)


def write_defaults(config: KafkaConfig, controls: Mapping[str, Control] = DEFAULT_CONTROLS) -> None:
    """Write the controls of a topic that has just been created."""
    write_confirmed(config, CONTROLS.name, [(symbol, encode_control(control)) for symbol, control in controls.items()])


def parse_time(text: str) -> int:
    """A ts (ns) from digits, or from RFC 3339 text with a zone. Raises BadControl."""
    ts = int(text) if text.isascii() and text.isdigit() else _from_rfc3339(text)
    if ts is None:
        raise BadControl(f"effective_from {text}: give nanoseconds since 1970 or a time like 2026-01-31T15:30:00Z")
    if not _OLDEST < ts < _NEWEST:
        raise BadControl(f"effective_from {text}: this is no time between 2001 and 2033")
    return ts


def _from_rfc3339(text: str) -> int | None:
    """Nanoseconds, None for what is no such text."""
    written = _FRACTION.fullmatch(text)  # a datetime keeps six of nine digits
    whole, fraction, zone = written.groups() if written is not None else (text, "", "")
    try:
        moment = datetime.fromisoformat(whole + zone)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(microseconds=1) * 1000 + int(fraction[:9].ljust(9, "0"))


# -- reading and writing ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Desk:
    """The controls, and the event time that the signals agent has reached in each of so many partitions of quotes."""

    held: dict[str, Held]
    clocks: dict[int, int]
    partitions: int

    def present(self, symbol: str) -> Held:
        """The control of one symbol. Raises UnknownSymbol."""
        if symbol == EVERY_SYMBOL or symbol not in self.held:
            known = ", ".join(sorted(key for key in self.held if key != EVERY_SYMBOL)) or "none"
            raise UnknownSymbol(f"there is no control for {symbol}; there are: {known}")
        return self.held[symbol]

    def clock(self, key: str) -> int | None:
        """How far the agent is with a key, None if it has stored nothing for it."""
        if key == EVERY_SYMBOL:
            return max(self.clocks.values(), default=None)
        return self.clocks.get(partition_of(key, self.partitions))


def _look(config: KafkaConfig) -> _Desk:
    """Both topics in one go: what a person waits for here is connections and questions, not records."""
    messages: dict[str, list[Any]] = {config.name(topic.name): [] for topic in (CONTROLS, CHECKPOINTS)}
    try:
        read = list(read_whole(config, CONTROLS.name, CHECKPOINTS.name, patience=_CLOCK_SECONDS))
    except HeldBack:
        # By a transaction of a process that was killed, say. The clocks only tell when a change will hold, and nobody
        # may have to wait for that with a halt of one symbol.
        read = list(read_whole(config, CONTROLS.name))
    for message in read:
        messages[message.topic()].append(message)
    controls, stored = messages.values()
    partitions = topics.partition_counts(clients.admin(config), config).get(config.name(QUOTES.name), 1)
    return _Desk(_held(controls), _clocks(stored), partitions)


def _clocks(stored: Iterable[Any]) -> dict[int, int]:
    clocks = {}
    for message in stored:
        # What cannot be read is for the agents to complain of.
        with contextlib.suppress(msgspec.DecodeError):
            checkpoint = msgspec.json.decode(message.value() or b"", type=Checkpoint)
            if checkpoint.role == _SIGNALS_ROLE and checkpoint.progress is not None:
                clocks[checkpoint.partition] = msgspec.convert(checkpoint.progress, _Progress).clock
    return clocks


def _held(messages: Iterable[Any]) -> dict[str, Held]:
    held: dict[str, Held] = {}
    for version, key, control in _records(messages):
        if control is None:
            held.pop(key, None)
        else:
            held[key] = Held(key, version, control)
    return held


def records(config: KafkaConfig) -> Iterator[Recorded]:
    """Version, key and control of every valid record of the topic."""
    return _records(read_whole(config, CONTROLS.name))


def _records(messages: Iterable[Any]) -> Iterator[Recorded]:
    for message in messages:
        try:
            key, control = parse_control(message.key(), message.value())
        except InvalidControl:
            continue  # the signals agent sets it aside, and what was in force stays so
        yield message.offset(), key, control


def _changed(symbol: str, before: Held | None, changes: Mapping[str, object]) -> Control:
    fields = {**(msgspec.structs.asdict(before.control) if before else {}), **changes}
    try:
        return make_control(**fields)
    except InvalidControl as error:
        raise BadControl(f"{symbol}: {error}") from error


def _check(symbol: str) -> None:
    try:
        check_symbol(symbol)
    except InvalidControl as error:
        raise BadControl(str(error)) from error


def _write(
    config: KafkaConfig,
    key: str,
    control: Control | StarControl | None,
    decision_seconds: int,
    clock: Callable[[], int | None],
    check: Check = _no_check,
) -> Written:
    """clock: how far the agent was with the key before; one read after the record could name a time too late."""
    value = encode_control(control) if control is not None else None
    check()
    version = write_confirmed(config, CONTROLS.name, [(key, value)])[0]
    effective_from = control.effective_from if control is not None else None
    return Written(key, version, control, _holds(effective_from, clock(), decision_seconds * NS))


def _holds(effective_from: int | None, clock: int | None, step: int) -> str:
    """From when a control holds, as far as that is known before the signals agent has read it."""
    if effective_from is not None and (clock is None or effective_from > clock):
        return f"holds from {rfc3339(-(-effective_from // step) * step)}"
    if clock is None:
        return "holds from the next decision time (no signals agent has told how far it is)"
    return f"holds from the next decision time, {rfc3339((clock // step + 1) * step)} or later"


class _Progress(msgspec.Struct):
    clock: int
