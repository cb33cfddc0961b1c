"""What is due: the rules read once more, from the records of quotes and controls alone, in plain Python.

For the auditor, who must not trust the agents: nothing here comes from their code. Rules for the default settings.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from schemas.times import NS

DECISION_NS = 10 * NS
MARK_NS = NS
TAU_NS = 60 * NS
WARMUP_NS = 60 * NS
GAP_NS = 300 * NS
STALE_NS = 60 * NS
FORGOTTEN_NS = 24 * 3600 * NS
FUTURE_NS = 5 * NS
EARLIEST_NS = 315_532_800 * NS
STRICTNESS = ("ACTIVE", "REDUCING", "CLOSING", "HALTED")
_FIELDS = {"symbol": str, "ts": int, "bid": float, "bid_size": float, "ask": float, "ask_size": float}


@dataclass(frozen=True)
class Due:
    """One signal that must be there: what it must say."""

    quote_ts: int
    bid: float
    ask: float
    ema: float
    sd: float
    version: int
    star_version: int | None
    state: str
    reason: str | None


Key = tuple[str, int, bool]
"""Symbol, decision time, whether it is the one at the end."""


@dataclass
class _Symbol:
    ts: int = 0
    first_ts: int = 0
    warm_start: int = 0
    next_decision: int = 0
    bid: float = 0.0
    ask: float = 0.0
    ema: float = 0.0
    var: float = 0.0
    sd: float = math.nan
    next_mark: int = 0  # 0: no quote since the last mark


@dataclass
class Marks:
    """Marks of one symbol: how many, and a running checksum of their contents."""

    count: int = 0
    checksum: int = 0

    def add(self, ts: int, bid: float, ask: float) -> None:
        """One more."""
        self.count += 1
        self.checksum = zlib.crc32(f"{ts} {bid!r} {ask!r}".encode(), self.checksum)


class Controls:
    """The records of controls, by key, oldest first; all of them must have been published in time."""

    def __init__(self) -> None:
        self._versions: dict[str, list[tuple[int, dict[str, Any]]]] = {}

    def add(self, version: int, key: str, control: dict[str, Any]) -> None:
        """The next record."""
        self._versions.setdefault(key, []).append((version, control))

    def at(self, key: str, ts: int) -> tuple[int | None, dict[str, Any]]:
        """Version and control of a key that hold at an event time."""
        for version, control in reversed(self._versions.get(key, [])):
            if (control.get("effective_from") or 0) <= ts:
                return version, control
        return None, {}

    def in_force(self, symbol: str, ts: int) -> tuple[int, int | None, str] | None:
        """Version, version of ``*`` and state that hold for a symbol; None when it has no control."""
        version, control = self.at(symbol, ts)
        if version is None:
            return None
        star_version, star = self.at("*", ts)
        states = (control.get("state", "ACTIVE"), star.get("state", "ACTIVE"))
        return version, star_version, max(states, key=STRICTNESS.index)


@dataclass
class Partition:
    """Everything that one partition of quotes makes due."""

    controls: Controls
    due: dict[Key, Due] = field(default_factory=dict)
    marks: dict[str, Marks] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)
    malformed: set[int] = field(default_factory=set)
    _symbols: dict[str, _Symbol] = field(default_factory=dict)
    _clock: int = 0
    _last_clock: int = 0
    _open: bool = False

    def take(self, offset: int, kafka_ns: int, value: bytes | None) -> None:
        """The next record of the partition."""
        self.counted["records"] += 1
        record = _parsed(value)
        if record is None:
            self.malformed.add(offset)
            self.counted["malformed"] += 1
        elif "clock" in record:
            self._take_clock(record, kafka_ns)
        else:
            self._take_quote(record, kafka_ns)

    def _take_clock(self, record: dict[str, Any], kafka_ns: int) -> None:
        ts = record["clock"]
        if ts < EARLIEST_NS or ts > kafka_ns + FUTURE_NS or (self._open and ts < self._last_clock):
            self.counted["other"] += 1
            return
        self.counted["clock"] += 1
        self._last_clock = ts
        self._open = not record.get("end", False)
        self._clock = max(self._clock, ts)
        for name, symbol in self._symbols.items():
            self._fire(name, symbol, self._clock)
            if not self._open:
                self._end(name, symbol, self._clock)

    def _take_quote(self, record: dict[str, Any], kafka_ns: int) -> None:
        name, ts, bid, ask = record["symbol"], record["ts"], record["bid"], record["ask"]
        symbol = self._symbols.get(name)
        last_ts = symbol.ts if symbol else 0
        unusable = min(bid, ask, record["bid_size"], record["ask_size"]) <= 0
        if unusable or ts < EARLIEST_NS or ts > kafka_ns + FUTURE_NS:
            self.counted["other"] += 1
        elif ts < last_ts or ts < self._clock:
            self.counted["late"] += 1
        else:
            self.counted["used"] += 1
            if symbol is None:
                symbol = self._symbols[name] = _Symbol(first_ts=ts, warm_start=ts)
                symbol.next_decision = (ts // DECISION_NS + 1) * DECISION_NS
            self._fire(name, symbol, ts)
            _apply(symbol, ts, float(bid), float(ask))

    def _fire(self, name: str, symbol: _Symbol, until: int) -> None:
        """Decisions and marks that are due up to a time."""
        if symbol.next_mark and symbol.next_mark <= until:
            self._mark(name, symbol, symbol.next_mark)
        while symbol.next_decision <= until:
            ts = symbol.next_decision
            if ts - symbol.ts > FORGOTTEN_NS:
                symbol.next_decision = (until // DECISION_NS + 1) * DECISION_NS
                return
            symbol.next_decision += DECISION_NS
            self._decide(name, symbol, ts)

    def _decide(self, name: str, symbol: _Symbol, ts: int) -> None:
        force = self.controls.in_force(name, ts)
        if force is None:
            return
        stale = ts - symbol.ts > STALE_NS
        first_stale = stale and ts - DECISION_NS - symbol.ts <= STALE_NS
        if stale and not first_stale and force[2] != "CLOSING":
            return
        warm = symbol.ts > symbol.warm_start + WARMUP_NS
        self._add(name, symbol, ts, force, "STALE" if stale else None if warm else "WARMUP")

    def _end(self, name: str, symbol: _Symbol, ts: int) -> None:
        force = self.controls.in_force(name, ts)
        if force is not None:
            self._add(name, symbol, ts, force, "END")
            if symbol.next_mark:
                self._mark(name, symbol, ts)

    def _mark(self, name: str, symbol: _Symbol, ts: int) -> None:
        symbol.next_mark = 0
        if self.controls.in_force(name, ts) is not None:
            self.marks.setdefault(name, Marks()).add(symbol.ts, symbol.bid, symbol.ask)

    def _add(self, name: str, symbol: _Symbol, ts: int, force: tuple[int, int | None, str], reason: str | None) -> None:
        made = Due(symbol.ts, symbol.bid, symbol.ask, symbol.ema, symbol.sd, *force, reason)
        self.due[name, ts, reason == "END"] = made


def _apply(symbol: _Symbol, ts: int, bid: float, ask: float) -> None:
    mid = (bid + ask) / 2
    if not symbol.ts:
        symbol.ema = mid
    else:
        elapsed = ts - symbol.ts
        if elapsed > GAP_NS:
            symbol.warm_start = ts
        kept = math.exp(-elapsed / TAU_NS)
        away = mid - symbol.ema
        symbol.var = kept * (symbol.var + (1 - kept) * away * away)
        symbol.ema = kept * symbol.ema + (1 - kept) * mid
        symbol.sd = math.sqrt(symbol.var)
    symbol.ts, symbol.bid, symbol.ask = ts, bid, ask
    if not symbol.next_mark:
        symbol.next_mark = (ts // MARK_NS + 1) * MARK_NS


def _parsed(value: bytes | None) -> dict[str, Any] | None:
    """A quote or clock record, None when it is neither."""
    try:
        record = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(record, dict):
        return None
    if isinstance(record.get("clock"), int):
        return record
    return record if all(_is(record.get(name), kind) for name, kind in _FIELDS.items()) else None


def _is(value: object, kind: type) -> bool:
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, kind) and not isinstance(value, bool)


def by_key(partitions: Iterator[Partition] | list[Partition]) -> dict[Key, Due]:
    """The signals due of all partitions."""
    return {key: made for partition in partitions for key, made in partition.due.items()}
