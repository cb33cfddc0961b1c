"""One task: the files of one date and block of symbols through every setting, into a folder of results."""

from __future__ import annotations

import datetime
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agents.backtest import tables
from agents.backtest.catalog import Catalog, Day, Part
from agents.backtest.controls import ControlLine, Timeline
from agents.backtest.reading import read_part
from agents.backtest.variant import Options, Variant
from agents.strategy.grid import COUNTERS
from agents.strategy.session import Calendar, calendar_of
from agents.strategy.settings import Settings

DONE = "done.json"
_STATE = "state.npz"
KINDS = ("trades", "executions", "days")
"""The tables of a task."""


@dataclass(frozen=True)
class Plan:
    """A whole backtest: what every task shares.

    settings: one or, for a sweep, many; carry: whether a date begins with what the one before left; folder: where
    the tasks keep their results.
    """

    settings: tuple[Settings, ...]
    options: Options
    controls: tuple[ControlLine, ...]
    carry: bool
    folder: Path
    catalog: Catalog


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
        return (self.folder / DONE).exists()


def tasks_of(plan: Plan) -> list[Task]:
    """The tasks of a plan, by date and block."""
    days, blocks = plan.catalog.days, plan.catalog.blocks
    wanted = [tuple(line for line in plan.controls if line.key == "*" or line.key in set(block)) for block in blocks]
    tasks = []
    for place, day in enumerate(days):
        for number, block in enumerate(blocks):
            before = result_folder(plan.folder, days[place - 1].date, number) if plan.carry and place else None
            tasks.append(
                Task(
                    settings=plan.settings,
                    options=plan.options,
                    controls=wanted[number],
                    symbols=block,
                    part=plan.catalog.parts[day.date, number],
                    day=day,
                    final=not plan.carry or place == len(days) - 1,
                    folder=result_folder(plan.folder, day.date, number),
                    before=before,
                )
            )
    return tasks


def result_folder(root: Path, date: datetime.date, block: int) -> Path:
    """Where the results of one task lie."""
    return root / f"date={date}" / f"block-{block:04d}"


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

    folder = task.folder.with_name(f"{task.folder.name}.{os.getpid()}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    date, symbols = task.day.date, task.symbols
    parts: dict[str, list[pa.Table]] = {kind: [] for kind in KINDS}
    for number, (settings, result) in enumerate(zip(task.settings, results, strict=True)):
        parts["trades"].append(tables.trades(number, settings.hash, date, symbols, result))
        parts["executions"].append(tables.executions(number, date, symbols, result.acted))
        parts["days"].append(tables.days(number, date, symbols, result))
    for kind, part in parts.items():
        pq.write_table(pa.concat_tables(part), folder / f"{kind}.parquet", compression="zstd")
    _save(folder, [variant.state() for variant in variants])
    np.save(folder / "equity.npy", np.stack([result.equity for result in results]))
    counters = dict(zip(COUNTERS, results[0].counts.tolist(), strict=True))
    (folder / DONE).write_text(json.dumps({"task": task.name, "rows": task.part.rows, "counters": counters}))
    _put(folder, task.folder)
    return task.name


def _put(made: Path, folder: Path) -> None:
    try:
        made.rename(folder)
    except OSError:
        # Somebody else has done the same task meanwhile: both results are the same.
        if not (folder / DONE).exists():
            raise
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


def fingerprint(plan: Plan) -> str:
    """What the results depend on, as text; a plan with another one must not use the kept results."""
    files = {file.path: [file.stamp, file.rows] for part in plan.catalog.parts.values() for file in part.files}
    described = {
        "settings": [msgspec.to_builtins(settings) for settings in plan.settings],
        "options": [plan.options.latency_ns, plan.options.markouts, plan.options.all_executions],
        "controls": [msgspec.to_builtins(line) for line in plan.controls],
        "carry": plan.carry,
        "days": [[str(day.date), day.first_ts, day.last_ts] for day in plan.catalog.days],
        "blocks": plan.catalog.blocks,
        "files": files,
    }
    return json.dumps(described, sort_keys=True)
