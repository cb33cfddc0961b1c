"""The controls of a run with the times from which they held, so that a replay can be given the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from agents.controls.operator import Recorded, records
from agents.stream.config import KafkaConfig
from agents.stream.watch import read_whole
from schemas.records import (
    EVERY_SYMBOL,
    Control,
    Execution,
    OutcomeReason,
    Signal,
    SignalReason,
    StarControl,
    State,
)
from schemas.topics import EXECUTIONS, SIGNALS

_R = TypeVar("_R")
_LOOSEST_FIRST = list(State)
_OF_CONTROL = [name for name in Control.__struct_fields__ if name != "effective_from"]


def export(config: KafkaConfig) -> Iterator[dict[str, object]]:
    """Every version of every control that is still known, oldest first. Raises NoBroker or MissingTopics.

    Each has ``key``, ``version``, ``control`` (null: a tombstone) and ``effective``: by symbol the first decision time
    at which it held, or null where the symbol decided, but never by this version. The control's ``effective_from`` is
    the earliest of these times, so that a control that is written under another prefix before a replay holds from the
    same time. What has been compacted away is taken from `signals`. They know only the stricter of a symbol's state and
    that of ``*``; the exported ones come to the same at every decision of the run.
    """
    signals = _decoded(config, SIGNALS.name, Signal)
    executions = _decoded(config, EXECUTIONS.name, Execution)
    return lines(signals, executions, records(config))


def lines(
    signals: Iterable[Signal], executions: Iterable[Execution], recorded: Iterable[Recorded]
) -> Iterator[dict[str, object]]:
    """As `export`, from the records of its topics, each symbol's in their order."""
    history = _History()
    for signal in signals:
        history.on_signal(signal)
    for execution in executions:
        history.on_execution(execution)
    return history.lines(recorded)


@dataclass
class _Version:
    """One version: what it says, if that is known, and the first decision time at which each symbol went by it."""

    control: Control | StarControl | None = None
    known: bool = False
    first: dict[str, int] = field(default_factory=dict)

    def note(self, symbol: str, ts: int) -> None:
        self.first[symbol] = min(ts, self.first.get(symbol, ts))

    def learn(self, control: Control | StarControl | None) -> None:
        self.control, self.known = control, True

    def loosest(self, seen: State) -> State:
        """The loosest state seen with it. What was in force is the stricter of a symbol's own and that of ``*``: with
        the loosest of each it comes out the same at every decision, though neither may be known by itself.
        """
        return seen if self.control is None else min(self.control.state, seen, key=_LOOSEST_FIRST.index)


class _History:
    """Which version each symbol went by, and when."""

    def __init__(self) -> None:
        self._versions: dict[str, dict[int, _Version]] = {}  # by key and number
        self._decided: set[str] = set()
        self._star: dict[str, int | None] = {}  # the version of ``*`` at a symbol's last signal
        self._ended: dict[tuple[str, int], _Version] = {}  # what took this version away, and when

    def on_signal(self, signal: Signal) -> None:
        symbol, ts, held = signal.symbol, signal.ts, signal.control
        self._decided.add(symbol)
        if held is None:
            return
        own = self._note_own(symbol, ts, held.version, removed=signal.reason is SignalReason.REMOVED)
        values: dict[str, Any] = {name: getattr(held, name) for name in _OF_CONTROL}
        own.learn(Control(**{**values, "state": own.loosest(held.state)}))
        before = self._star.get(symbol)
        self._star[symbol] = held.star_version
        if held.star_version is not None:
            star = self._version(EVERY_SYMBOL, held.star_version)
            star.note(symbol, ts)
            star.learn(StarControl(state=star.loosest(held.state)))
        elif before is not None:
            self._end(EVERY_SYMBOL, before, symbol, ts)

    def _note_own(self, symbol: str, ts: int, number: int, *, removed: bool) -> _Version:
        own = self._version(symbol, number)
        if removed:
            self._end(symbol, number, symbol, ts)
        else:
            own.note(symbol, ts)
        return own

    def on_execution(self, execution: Execution) -> None:
        self._decided.add(execution.symbol)
        if execution.control_version is not None:
            removed = execution.reason is OutcomeReason.REMOVED
            self._note_own(execution.symbol, execution.ts, execution.control_version, removed=removed)

    def lines(self, recorded: Iterable[Recorded]) -> Iterator[dict[str, object]]:
        for number, key, control in recorded:
            self._version(key, number).learn(control)
        for (key, number), end in self._ended.items():
            of_key = self._versions[key]
            following = min((later for later in of_key if later > number), default=None)
            if following is None or not of_key[following].known or of_key[following].control is not None:
                following = number + 1  # the tombstone is compacted away; it lay somewhere in between
            tombstone = self._version(key, following)
            tombstone.learn(None)
            tombstone.first = end.first
        # executions are kept longer than signals: what an unknown version said is gone
        known = [(number, key, v) for key, of in self._versions.items() for number, v in of.items() if v.known]
        for number, key, version in sorted(known, key=lambda line: line[:2]):
            control, first = version.control, version.first
            if control is not None and first:
                control = msgspec.structs.replace(control, effective_from=min(first.values()))
            concerned = self._decided if key == EVERY_SYMBOL else self._decided & {key}
            yield {
                "key": key,
                "version": number,
                "control": msgspec.to_builtins(control),
                "effective": {symbol: first.get(symbol) for symbol in sorted(concerned)},
            }

    def _version(self, key: str, number: int) -> _Version:
        return self._versions.setdefault(key, {}).setdefault(number, _Version())

    def _end(self, key: str, number: int, symbol: str, ts: int) -> None:
        self._ended.setdefault((key, number), _Version()).note(symbol, ts)


def _decoded(config: KafkaConfig, topic: str, kind: type[_R]) -> Iterator[_R]:
    decoder = msgspec.json.Decoder(kind)
    for message in read_whole(config, topic):
        yield decoder.decode(message.value())
