"""Which control holds for a symbol at a decision time.

The newest version whose ``effective_from`` has been reached holds; one that still waits leaves the one before it in
force until then. The version of a control is its offset in the topic ``controls``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from agents.strategy.grid import IGNORED, LISTED, WATCHED
from schemas.controls import min_fill_shares
from schemas.records import EVERY_SYMBOL, Control, ControlInForce, StarControl, State

_STRICTNESS = {state: rank for rank, state in enumerate(State)}


def stricter(a: State, b: State) -> State:
    """The stricter of two states."""
    return max(a, b, key=_STRICTNESS.__getitem__)


class Version(msgspec.Struct, frozen=True, array_like=True):
    """One record of a symbol in ``controls``; no control: a tombstone."""

    version: int
    control: Control | None

    def reached(self, ts: int) -> bool:
        """Whether it may hold at an event time."""
        return self.control is None or self.control.effective_from is None or self.control.effective_from <= ts


class StarVersion(msgspec.Struct, frozen=True, array_like=True):
    """One record of ``*`` in ``controls``; no control: a tombstone, which lifts it."""

    version: int
    control: StarControl | None

    def reached(self, ts: int) -> bool:
        """Whether it may hold at an event time."""
        return self.control is None or self.control.effective_from is None or self.control.effective_from <= ts


class Schedule(msgspec.Struct, array_like=True):
    """The control that held at the symbol's last decision time, and the newer ones, oldest first."""

    current: Version | None = None
    waiting: list[Version] = []

    def add(self, version: Version) -> bool:
        """Take a version; whether it was new."""
        newest = self.waiting[-1] if self.waiting else self.current
        if newest is not None and version.version <= newest.version:
            return False
        self.waiting.append(version)
        return True

    def at(self, ts: int) -> Version | None:
        """What holds at an event time not before the last decision time."""
        for version in reversed(self.waiting):
            if version.reached(ts):
                return version
        return self.current

    def advance(self, ts: int) -> Version | None:
        """What holds at the next decision time; older versions are forgotten. Returns what held before."""
        before = self.current
        held = self.at(ts)
        if held is not before and held is not None:
            self.waiting = [version for version in self.waiting if version.version > held.version]
            self.current = held if held.control is not None else None
        return before


class Resolved(NamedTuple):
    """What holds for a symbol at a decision time; `removed`: the control shown is the last one, just taken away."""

    control: ControlInForce | None
    removed: bool


NOTHING = Resolved(None, False)


class ControlBook:
    """All controls read so far, by symbol, and those of ``*``."""

    def __init__(self) -> None:
        self.schedules: dict[str, Schedule] = {}
        self.star: list[StarVersion] = []
        self._read: dict[str, list[Version]] = {}  # all that may hold at some time, whatever a schedule has passed
        self._in_force: dict[str, ControlInForce] = {}

    def add(self, key: str, version: int, control: Control | StarControl | None) -> bool:
        """Take one record of ``controls``; whether it was new. ``*`` takes a `StarControl`, others a `Control`."""
        if key == EVERY_SYMBOL:
            assert not isinstance(control, Control)
            return self._add_star(StarVersion(version, control))
        assert not isinstance(control, StarControl)
        return self._add_own(key, Version(version, control))

    def _add_own(self, symbol: str, version: Version) -> bool:
        read = self._read.setdefault(symbol, [])
        if version.reached(0):
            read.clear()
        read.append(version)
        return self.schedules.setdefault(symbol, Schedule()).add(version)

    def _add_star(self, version: StarVersion) -> bool:
        if any(known.version >= version.version for known in self.star):
            return False
        self.star.append(version)
        return True

    def newest(self, key: str) -> int | None:
        """The newest version known for a key, None if there is none that is not a tombstone."""
        if key == EVERY_SYMBOL:
            return self.star[-1].version if self.star and self.star[-1].control else None
        schedule = self.schedules.get(key)
        if schedule is None:
            return None
        newest = schedule.waiting[-1] if schedule.waiting else schedule.current
        return newest.version if newest and newest.control else None

    def merge(self, symbol: str, stored: Schedule) -> None:
        """Go back to what a table kept for a symbol: what held, and what waited, together with all that was read."""
        merged = Schedule(current=stored.current)
        for version in _in_order([*stored.waiting, *self._read.get(symbol, [])]):
            merged.add(version)
        self.schedules[symbol] = merged
        self._in_force.pop(symbol, None)

    @property
    def symbols(self) -> set[str]:
        """Every symbol of which a record was read or a schedule is kept."""
        return {*self._read, *self.schedules}

    def merge_star(self, stored: Iterable[StarVersion]) -> None:
        """Take what a checkpoint kept of ``*``."""
        self.star = list({v.version: v for v in sorted([*stored, *self.star], key=lambda v: v.version)}.values())

    def star_since(self, ts: int) -> list[StarVersion]:
        """The versions of ``*`` that can hold at a decision time after an event time."""
        for i in range(len(self.star) - 1, 0, -1):
            if self.star[i].reached(ts):
                return self.star[i:]
        return self.star

    def interest(self, symbol: str) -> int:
        """How closely `Desk` has to report a symbol: ignored, by the common rule, or every decision time."""
        schedule = self.schedules.get(symbol)
        if schedule is None or (schedule.current is None and not schedule.waiting):
            return IGNORED
        if schedule.waiting or schedule.current is None or schedule.current.control is None:
            return WATCHED
        stars = self.star_since(0)
        if len(stars) > 1 or (stars and not stars[0].reached(0)):
            return WATCHED
        star = stars[0].control if stars else None
        state = stricter(schedule.current.control.state, star.state if star else State.ACTIVE)
        return WATCHED if state is State.CLOSING else LISTED

    def listed(self, symbol: str, ts: int) -> bool:
        """Whether a symbol belongs to the universe at an event time not before its last decision time."""
        schedule = self.schedules.get(symbol)
        held = schedule.at(ts) if schedule else None
        return held is not None and held.control is not None

    def peek(self, symbol: str, ts: int) -> ControlInForce | None:
        """What holds at an event time, without moving on to it."""
        schedule = self.schedules.get(symbol)
        held = schedule.at(ts) if schedule else None
        return self._apply(symbol, held, ts) if held else None

    def resolve(self, symbol: str, ts: int) -> Resolved:
        """What holds at the symbol's next decision time. Call it once for each, in their order."""
        schedule = self.schedules.get(symbol)
        if schedule is None:
            return NOTHING
        if not schedule.waiting and schedule.current is not None:
            return Resolved(self._apply(symbol, schedule.current, ts), False)
        before = schedule.advance(ts)
        if schedule.current is not None:
            return Resolved(self._apply(symbol, schedule.current, ts), False)
        if not schedule.waiting:
            del self.schedules[symbol]
        return Resolved(self._apply(symbol, before, ts), True) if before is not None else NOTHING

    def _star_at(self, ts: int) -> StarVersion | None:
        for version in reversed(self.star):
            if version.reached(ts):
                return version
        return None

    def _apply(self, symbol: str, held: Version, ts: int) -> ControlInForce | None:
        control = held.control
        if control is None:
            return None
        star = self._star_at(ts)
        star_version = star.version if star and star.control else None
        cached = self._in_force.get(symbol)
        if cached is not None and cached.version == held.version and cached.star_version == star_version:
            return cached
        in_force = ControlInForce(
            version=held.version,
            star_version=star_version,
            max_position_dollars=control.max_position_dollars,
            lot_shares=control.lot_shares,
            size_step=control.size_step,
            min_fill_shares=min_fill_shares(control),
            max_loss_dollars=control.max_loss_dollars,
            allow_short=control.allow_short,
            state=stricter(control.state, star.control.state) if star and star.control else control.state,
        )
        self._in_force[symbol] = in_force
        return in_force


def _in_order(versions: Iterable[Version]) -> list[Version]:
    return sorted(versions, key=lambda version: version.version)
