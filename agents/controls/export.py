"""The controls of a run with the times from which they held, so that a replay can be given the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from agents.controls.operator import records
from agents.stream.config import KafkaConfig
from agents.stream.watch import read_whole
from schemas.records import EVERY_SYMBOL, Control, ControlInForce, Execution, Signal, StarControl, State
from schemas.topics import EXECUTIONS, SIGNALS

_R = TypeVar("_R")
_LOOSEST_FIRST = list(State)
_OF_CONTROL = [name for name in Control.__struct_fields__ if name != "effective_from"]


@dataclass
class _Version:
    """One version: what it says, and the first decision time at which each symbol went by it."""

    key: str
    control: Control | StarControl | None = None
    first: dict[str, int] = field(default_factory=dict)

    def note(self, symbol: str, ts: int) -> None:
        self.first[symbol] = min(ts, self.first.get(symbol, ts))

    def exported(self, version: int) -> dict[str, object]:
        control = self.control
        if control is not None and self.first:
            control = msgspec.structs.replace(control, effective_from=min(self.first.values()))
        return {
            "key": self.key,
            "version": version,
            "control": msgspec.to_builtins(control),
            "effective": dict(sorted(self.first.items())),
        }


def export(config: KafkaConfig) -> Iterator[dict[str, object]]:
    """Every version of every control that is still known, oldest first. Raises NoBroker or MissingTopics.

    Each has ``key``, ``version``, ``control`` (null: a tombstone) and ``effective``: the first decision time at which
    it held, by symbol. The control's ``effective_from`` is the earliest of these, so that the same controls, written
    under another prefix before a replay, hold from the same times. What has been compacted away is taken from
    `signals`, which knows a symbol's control only from times when ``*`` bounded nothing.
    """
    versions: dict[int, _Version] = {}
    for signal in _decoded(config, SIGNALS.name, Signal):
        if signal.control is not None:
            _note(versions, signal, signal.control)
    for execution in _decoded(config, EXECUTIONS.name, Execution):
        if execution.control_version is not None:
            held = versions.setdefault(execution.control_version, _Version(execution.symbol))
            held.note(execution.symbol, execution.ts)
    written = set()
    for number, key, control in records(config):
        written.add(number)
        versions.setdefault(number, _Version(key)).control = control
    for number, version in sorted(versions.items()):
        # executions are kept longer than signals: what such a version said is gone
        if number in written or version.control is not None:
            yield version.exported(number)


def _note(versions: dict[int, _Version], signal: Signal, held: ControlInForce) -> None:
    own = versions.setdefault(held.version, _Version(signal.symbol))
    own.note(signal.symbol, signal.ts)
    if held.star_version is None:
        values: dict[str, Any] = {name: getattr(held, name) for name in _OF_CONTROL}
        own.control = Control(**values)
        return
    star = versions.setdefault(held.star_version, _Version(EVERY_SYMBOL))
    star.note(signal.symbol, signal.ts)
    # The loosest state seen under it: no symbol was bounded by less, and a stricter one was the symbol's own.
    known = star.control.state if star.control is not None else held.state
    star.control = StarControl(state=min(known, held.state, key=_LOOSEST_FIRST.index))


def _decoded(config: KafkaConfig, topic: str, kind: type[_R]) -> Iterator[_R]:
    decoder = msgspec.json.Decoder(kind)
    for message in read_whole(config, topic):
        yield decoder.decode(message.value())
