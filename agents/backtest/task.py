"""One task: the files of one date and block of symbols through every setting, into a folder of results."""

from __future__ import annotations

import contextlib
import datetime
import errno
import hashlib
import importlib.resources
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from agents.backtest import tables
from agents.backtest.catalog import Catalog, Day, Part
from agents.backtest.controls import ControlLine, Timeline
from agents.backtest.reading import read_part
from agents.backtest.variant import Options, Variant
from agents.strategy.grid import COUNTERS
from agents.strategy.session import Calendar, calendar_of
from agents.strategy.settings import Settings
from schemas.records import EVERY_SYMBOL

DONE = "done.json"
_STATE = "state.npz"
_EQUITY = "equity.npy"
KINDS = ("trades", "executions", "days")
"""The tables of a task."""
_WORTH_COMPRESSING = 4 << 20
"""Bytes of a table."""
_SOURCES = ("agents.backtest", "agents.strategy", "schemas")


@dataclass(frozen=True)
class Plan:
    """A whole backtest: what every task shares.

    settings: one or, for a sweep, many; carry: whether a date begins with what the one before left; folder: below
    which tasks keep their results, those of other plans too.
    """

    settings: tuple[Settings, ...]
    options: Options
    controls: tuple[ControlLine, ...]
    carry: bool
    folder: Path
    catalog: Catalog

    @cached_property
    def folders(self) -> dict[tuple[datetime.date, int], Path]:
        """Where the results of each task lie, by date and block.

        A folder's name depends on all that its results depend on, so that they are found again by every plan that
        needs the same: one of more dates goes on where the shorter one ended.
        """
        found: dict[tuple[datetime.date, int], Path] = {}
        for number, block in enumerate(self.catalog.blocks):
            shared = self._shared(block)
            key = ""
            for place, day in enumerate(self.catalog.days):
                files = self.catalog.parts[day.date, number].files
                own = {
                    "before": key if self.carry else "",
                    "final": self.is_final(place),
                    "day": [str(day.date), day.first_ts, day.last_ts],
                    "files": [[file.path, file.stamp, file.rows] for file in files],
                }
                key = _digest(shared, own)
                found[day.date, number] = self.folder / f"date={day.date}" / key
        return found

    def is_final(self, place: int) -> bool:
        """Whether the strategy ends with the date at this place."""
        return not self.carry or place == len(self.catalog.days) - 1

    def controls_of(self, block: tuple[str, ...]) -> tuple[ControlLine, ...]:
        """The controls of a block of symbols."""
        return tuple(line for line in self.controls if line.key == EVERY_SYMBOL or line.key in set(block))

    def _shared(self, block: tuple[str, ...]) -> str:
        return _digest(
            _code(),
            {
                "settings": [msgspec.to_builtins(settings) for settings in self.settings],
                "options": [self.options.latency_ns, self.options.markouts, self.options.all_executions],
                "controls": [msgspec.to_builtins(line) for line in self.controls_of(block)],
                "symbols": block,
            },
        )


@dataclass(frozen=True)
class Task:
    """One part of a plan, small enough to be sent around."""

    settings: tuple[Settings, ...]
    options: Options
    controls: tuple[ControlLine, ...]
    symbols: tuple[str, ...]
    part: Part
    day: Day
    final: bool
    folder: Path
    before: Path | None

    @property
    def name(self) -> str:
        """How the task is called in messages."""
        return self.part.name

    @property
    def done(self) -> bool:
        """Whether its results are there."""
        return is_done(self.folder)


def tasks_of(plan: Plan) -> list[Task]:
    """The tasks of a plan, by date and block."""
    days, blocks = plan.catalog.days, plan.catalog.blocks
    controls = [plan.controls_of(block) for block in blocks]
    return [
        Task(
            settings=plan.settings,
            options=plan.options,
            controls=controls[number],
            symbols=block,
            part=plan.catalog.parts[day.date, number],
            day=day,
            final=plan.is_final(place),
            folder=plan.folders[day.date, number],
            before=plan.folders[days[place - 1].date, number] if plan.carry and place else None,
        )
        for place, day in enumerate(days)
        for number, block in enumerate(blocks)
    ]


def run_task(task: Task) -> str:
    """Do one task and keep its results, all of them or none; returns its name. Done again it changes nothing."""
    if task.done:
        return task.name
    timeline = Timeline.of(task.symbols, task.controls)
    variants = [Variant(settings, _calendar(settings), timeline, task.options) for settings in task.settings]
    if task.before is not None:
        for variant, state in zip(variants, _load(task.before), strict=True):
            variant.load(state)
    for variant in variants:
        variant.begin(task.day.first_ts, task.day.last_ts)
    for columns in read_part(task.part.files, {symbol: n for n, symbol in enumerate(task.symbols)}):
        for variant in variants:
            variant.take(columns)
    results = [variant.finish(task.final) for variant in variants]

    folder = task.folder.with_name(f"{task.folder.name}.{socket.gethostname()}-{os.getpid()}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    date, symbols = task.day.date, task.symbols
    parts: dict[str, list[pa.Table]] = {kind: [] for kind in KINDS}
    for number, (settings, result) in enumerate(zip(task.settings, results, strict=True)):
        parts["trades"].append(tables.trades(number, settings.hash, date, symbols, result))
        parts["executions"].append(tables.executions(number, date, symbols, result.acted))
        parts["days"].append(tables.days(number, date, symbols, result))
    for kind, part in parts.items():
        _keep_table(folder, kind, pa.concat_tables(part).unify_dictionaries())
    _save(folder, [variant.state() for variant in variants])
    np.save(folder / _EQUITY, np.stack([result.equity for result in results]))
    counters = dict(zip(COUNTERS, results[0].counts.tolist(), strict=True))
    (folder / DONE).write_text(json.dumps({"task": task.name, "rows": task.part.rows, "counters": counters}))
    _put(folder, task.folder)
    return task.name


def is_done(folder: Path) -> bool:
    """Whether a folder holds all results of a task: some of them may have been deleted."""
    files = (folder / DONE, folder / _STATE, folder / _EQUITY, *(_table_path(folder, kind) for kind in KINDS))
    return all(file.exists() for file in files)


def remove(folder: Path) -> None:
    """Delete a task's folder, which loses its name first: a deletion that is interrupted leaves nothing half done."""
    if not folder.exists():
        return
    aside = tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent)
    with contextlib.suppress(FileNotFoundError):  # Somebody else deletes it, too.
        folder.replace(aside)
    shutil.rmtree(aside, ignore_errors=True)


def kept_equity(folder: Path) -> np.ndarray:
    """The equity that a task has kept in its folder: float64[settings, steps]."""
    equity: np.ndarray = np.load(folder / _EQUITY)
    return equity


def kept_table(folder: Path, kind: str) -> pa.Table:
    """One of the tables that a task has kept in its folder."""
    return pa.ipc.open_file(_table_path(folder, kind).read_bytes()).read_all()


def _keep_table(folder: Path, kind: str, table: pa.Table) -> None:
    # Small ones are written and read five times as fast as they are, and as Parquet ten times as slowly.
    options = pa.ipc.IpcWriteOptions(compression="lz4" if table.nbytes > _WORTH_COMPRESSING else None)
    with pa.ipc.new_file(str(_table_path(folder, kind)), table.schema, options=options) as writer:
        writer.write_table(table)


def _table_path(folder: Path, kind: str) -> Path:
    return folder / f"{kind}.arrow"


def _put(made: Path, folder: Path) -> None:
    while not is_done(folder):
        try:
            made.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # What a deletion has left, or what somebody else who does the same task has put there meanwhile.
            if not is_done(folder):
                remove(folder)
        else:
            return
    shutil.rmtree(made)


@lru_cache(maxsize=8)
def _calendar_of(session: str | None, close_minutes: float) -> Calendar:
    return calendar_of(Settings(session=session, close_minutes=close_minutes))


def _calendar(settings: Settings) -> Calendar:
    return _calendar_of(settings.session, settings.close_minutes)


def _save(folder: Path, states: list[dict[str, np.ndarray]]) -> None:
    named: dict[str, Any] = {
        f"{number}/{name}": values for number, state in enumerate(states) for name, values in state.items()
    }
    np.savez(folder / _STATE, **named)


def _load(folder: Path) -> list[Mapping[str, np.ndarray]]:
    states: dict[int, dict[str, np.ndarray]] = {}
    with np.load(folder / _STATE, allow_pickle=False) as stored:
        for key in stored.files:
            number, name = key.split("/")
            states.setdefault(int(number), {})[name] = stored[key]
    return [states[number] for number in sorted(states)]


def _digest(before: str, more: Mapping[str, Any]) -> str:
    return hashlib.sha256(f"{before}{json.dumps(more, sort_keys=True)}".encode()).hexdigest()[:16]


@cache
def _code() -> str:
    """Stands for the rules: results of other versions of the program are not used."""
    digest = hashlib.sha256()
    for package in _SOURCES:
        sources = importlib.resources.files(package).iterdir()
        for source in sorted((source for source in sources if source.name.endswith(".py")), key=lambda one: one.name):
            digest.update(source.read_bytes())
    return digest.hexdigest()
