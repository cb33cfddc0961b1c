"""The controls of a backtest: read from a file or made, and laid out by event time for the kernels."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from agents.strategy.controls import ControlBook
from agents.strategy.execution import INTENT
from agents.strategy.grid import IGNORED, LISTED, WATCHED
from agents.strategy.intents import terms_of
from agents.stream.errors import BadConfiguration
from schemas.controls import InvalidControl, parse_control
from schemas.records import EVERY_SYMBOL, Control, ControlInForce, StarControl, State

_ALWAYS = np.iinfo(np.int64).min


class ControlLine(msgspec.Struct, frozen=True, kw_only=True):
    """One record of ``controls``, as a line of a file.

    key: the symbol or ``*``; version: its offset, by default the number of the line from 0; control: the record, None
    for a tombstone; known_from: event time (ns) at which the desk came to know it, None if before the first quote;
    effective: of a recorded run, by symbol the time (ns) from which it held, None where it never did.
    """

    key: str
    control: Control | StarControl | None
    version: int
    known_from: int | None = None
    effective: dict[str, int | None] = {}

    def holds_from(self, symbol: str) -> int | None:
        """The first event time at which it may hold for a symbol, None if it never does."""
        if symbol in self.effective:
            return self.effective[symbol]
        wanted = self.control.effective_from if self.control is not None else None
        return max(_ALWAYS if time is None else time for time in (wanted, self.known_from))


class _RawLine(msgspec.Struct, forbid_unknown_fields=False):
    key: str
    control: msgspec.Raw
    version: int | None = None
    known_from: int | None = None
    effective: dict[str, int | None] = {}


def read_controls(path: Path) -> list[ControlLine]:
    """Controls from JSON lines, as ``mm controls export`` writes them. Raises BadConfiguration naming the line.

    Each line has ``key``, ``control`` (null for a tombstone) and, if wanted, ``version``, ``known_from`` and
    ``effective`` (see `ControlLine`).
    """
    try:
        texts = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"cannot read the controls {path}: {error}") from error
    lines = []
    for number, text in enumerate(texts):
        if not text.strip():
            continue
        try:
            raw = msgspec.json.decode(text, type=_RawLine)
            value = None if bytes(raw.control) == b"null" else bytes(raw.control)
            key, control = parse_control(raw.key.encode(), value)
        except (InvalidControl, msgspec.DecodeError) as error:
            raise BadConfiguration(f"{path}, line {number + 1}: {error}") from error
        version = number if raw.version is None else raw.version
        lines.append(
            ControlLine(key=key, control=control, version=version, known_from=raw.known_from, effective=raw.effective)
        )
    return sorted(lines, key=lambda line: line.version)


def same_for_all(symbols: Iterable[str], control: Control) -> list[ControlLine]:
    """One control for each symbol."""
    return [ControlLine(key=symbol, control=control, version=0) for symbol in symbols]


@dataclass(frozen=True)
class Stretch:
    """What holds for a symbol from an event time on; None: nothing."""

    start: int
    control: ControlInForce | None


def stretches(symbol: str, lines: Sequence[ControlLine]) -> list[Stretch]:
    """What holds for a symbol from when on, in order; the first stretch starts before all times.

    The newest version whose time has come holds, of the symbol's own and of ``*``.
    """
    relevant = [
        (holds_from, line)
        for line in lines
        if line.key in (symbol, EVERY_SYMBOL) and (holds_from := line.holds_from(symbol)) is not None
    ]
    found: list[Stretch] = []
    for start in sorted({_ALWAYS, *(holds_from for holds_from, _ in relevant)}):
        book = ControlBook()
        for holds_from, line in relevant:
            if holds_from <= start:
                book.add(line.key, line.version, line.control)
        # All that was added holds at any time now: the versions that wait for later were left out.
        control = book.peek(symbol, np.iinfo(np.int64).max)
        if not found or found[-1].control != control:
            found.append(Stretch(start, control))
    return found


@dataclass(frozen=True)
class Timeline:
    """The stretches of numbered symbols, for the kernels: those of symbol s are rows first[s]..first[s+1]-1.

    start: int64; template: `INTENT`, what a signal of the stretch takes from its control (state `NO_STATE` where
    none holds); interest: uint8 per symbol, for `Desk`.
    """

    first: np.ndarray
    start: np.ndarray
    template: np.ndarray
    interest: np.ndarray

    @classmethod
    def of(cls, symbols: Sequence[str], lines: Sequence[ControlLine]) -> Timeline:
        """The timeline of symbols, numbered by their order."""
        by_key: dict[str, list[ControlLine]] = {}
        for line in lines:
            by_key.setdefault(line.key, []).append(line)
        star = by_key.get(EVERY_SYMBOL, [])
        each = [
            stretches(symbol, sorted([*by_key.get(symbol, []), *star], key=lambda line: line.version))
            for symbol in symbols
        ]
        flat = [stretch for of_symbol in each for stretch in of_symbol]
        template = np.zeros(len(flat), INTENT)
        for row, stretch in zip(template, flat, strict=True):
            for name, value in terms_of(stretch.control)._asdict().items():
                row[name] = value
        return cls(
            first=np.cumsum([0, *map(len, each)]),
            start=np.array([stretch.start for stretch in flat], np.int64),
            template=template,
            interest=np.array([_interest(of_symbol) for of_symbol in each], np.uint8),
        )


def _interest(of_symbol: Sequence[Stretch]) -> int:
    controls = [stretch.control for stretch in of_symbol]
    if all(control is None for control in controls):
        return IGNORED
    removed = any(before is not None and after is None for before, after in itertools.pairwise(controls))
    closing = any(control is not None and control.state is State.CLOSING for control in controls)
    return WATCHED if removed or closing else LISTED
