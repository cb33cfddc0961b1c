"""The controls table: what was sent, and since which decision time it holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from agents.dashboard.tables import Table
from schemas.controls import InvalidControl, min_fill_shares, parse_control
from schemas.records import EVERY_SYMBOL, Control, Execution


class _Message(Protocol):
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def timestamp(self) -> tuple[int, int]: ...


class _Signal(Protocol):
    @property
    def ts(self) -> int: ...
    @property
    def control(self) -> Any: ...


class ControlDesk:
    """Fills the controls table.

    Its column `effect` says how it stands with the newest version: ``["since", ts]`` of the first decision that named
    it, ``["before", null]`` when it has been in force since before the records that are known, ``["due", ts]`` of the
    decision from which it holds (null: not known) when none has named it yet.

    due: the ts of the next decision not before an `effective_from`, None while no event time is known.
    """

    def __init__(self, table: Table, due: Callable[[int | None], int | None]) -> None:
        self._table = table
        self._due = due
        self._sent: dict[str, tuple[int, int, int | None, Any]] = {}  # version, time sent in ns, when due, control
        self._in_force: dict[str, tuple[int, int]] = {}  # version, ts of the first record that named it
        self._known_since: int | None = None  # Kafka's time in ns of the oldest execution

    def on_control(self, message: _Message) -> None:
        """Take one record of controls; one that cannot hold changes nothing, as in the agents."""
        try:
            symbol, control = parse_control(message.key(), message.value())
        except InvalidControl:
            return
        if control is None:
            self._sent.pop(symbol, None)
            self._table.drop(symbol)
        else:
            due = self._due(control.effective_from)
            self._sent[symbol] = message.offset(), message.timestamp()[1] * 1_000_000, due, control
            self._show(symbol)

    def on_execution(self, execution: Execution, published_ms: int) -> None:
        """Learn which version of the symbol's own control an execution names."""
        published = published_ms * 1_000_000
        if self._known_since is None or published < self._known_since:
            self._known_since = published
        self._seen(execution.symbol, execution.control_version, execution.ts)

    def on_signal(self, signal: _Signal) -> None:
        """Learn which version of the control of all symbols a signal names."""
        if signal.control is not None:
            self._seen(EVERY_SYMBOL, signal.control.star_version, signal.ts)

    @property
    def everyone(self) -> str | None:
        """The state that the control of all symbols asks for, None when there is none."""
        return self._sent[EVERY_SYMBOL][3].state if EVERY_SYMBOL in self._sent else None

    def _seen(self, key: str, version: int | None, ts: int) -> None:
        if version is None:
            return
        known = self._in_force.get(key)
        # Records of different partitions come in any order: the oldest that names the newest version counts.
        if known is None or version > known[0] or (version == known[0] and ts < known[1]):
            self._in_force[key] = version, ts
            if key in self._sent:
                self._show(key)

    def _show(self, key: str) -> None:
        version, sent, due, control = self._sent[key]
        in_force, since = self._in_force.get(key, (None, None))
        if in_force != version:
            effect = "due", due
        elif self._known_since is not None and sent >= self._known_since:
            effect = "since", since
        else:
            effect = "before", None
        own = control if isinstance(control, Control) else None
        smallest = own and min_fill_shares(own)
        self._table.put(
            key,
            (
                key,
                control.state,
                own and own.max_position_dollars,
                own and own.lot_shares,
                own and own.max_loss_dollars,
                own and own.allow_short,
                smallest,
                own and own.size_step,
                effect,
                version,
                sent,
                control.effective_from,
            ),
        )
