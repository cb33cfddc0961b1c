"""Backtests as a user runs them: from Parquet, by one and by two processes, over few and over many dates."""

from __future__ import annotations

import datetime
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.backtest.store import PRICES, file_path, utc_date, write_file
from agents.feeds.quotes import concatenate
from agents.strategy.settings import DAY_NS
from benchmarks.quotes import START, Load
from benchmarks.report import Row, Table, row
from benchmarks.setting import Setting

_SYMBOLS = 8
_PER_SYMBOL_SECOND = 100.0


@dataclass(frozen=True)
class _Case:
    """A command, and how many dates it is given. name: as it stands in the table."""

    name: str
    dates: int
    workers: int = 1
    more: tuple[str, ...] = ()


def backtest(setting: Setting, dates: tuple[int, int, int] = (2, 20, 100)) -> Iterator[Table]:
    """Whole commands, from their start to their end; dates: few, some and many."""
    folder = setting.folder / "dates"
    setting.note(f"writing {dates[-1]} dates of about {setting.quotes:,} quotes")
    of_date = _write(folder, setting.quotes, dates[-1])
    alone, together = [_by_dates(workers, dates) for workers in (1, 2)]
    few, some, many = dates
    others = [
        _Case(f"1 process, {some} dates, without markouts", some, more=("--no-markouts",)),
        _Case(f"1 process, {some} dates, four settings", some, more=("--sweep", "band=0.5,1,1.5,2")),
    ]
    cases = [*alone, *together, *others]
    conditions = setting.conditions(
        f"{of_date / 1e6:.2f} million quotes a date of {_SYMBOLS} symbols in Parquet",
        f"{_PER_SYMBOL_SECOND:.0f} quotes a symbol and second",
        f"{setting.repeats} runs in turn",
    )
    runs: dict[str, list[Mapping[str, float]]] = {case.name: [] for case in cases}
    for repeat in range(setting.repeats):
        for case in cases:
            setting.note(f"run {repeat + 1}: {case.name}")
            runs[case.name].append(_run(setting.folder / f"{len(runs[case.name])} {case.name}", folder, case, of_date))
    rows = {name: row(name, figures) for name, figures in runs.items()}
    one, two = ([rows[case.name] for case in cases] for cases in (alone, together))
    remarks = [
        f"{case.dates} dates: two processes are {_median(a, 's') / _median(b, 's'):.2f} times as fast as one"
        for case, a, b in zip(alone, one, two, strict=True)
    ]
    more = (many - few) * of_date / 1e6
    for name, by_dates in (("one process", one), ("two processes", two)):
        seconds, cpu = (_median(by_dates[-1], figure) - _median(by_dates[0], figure) for figure in ("s", "CPU s"))
        remarks.append(
            f"{name}, what more dates cost: {more / seconds:.1f} million quotes/s, {more / cpu:.1f} a CPU second"
        )
    yield Table("Backtests from Parquet", conditions, list(rows.values()), remarks)


def _by_dates(workers: int, dates: Sequence[int]) -> list[_Case]:
    noun = "process" if workers == 1 else "processes"
    return [_Case(f"{workers} {noun}, {count} dates", count, workers) for count in dates]


def _write(folder: Path, quotes: int, dates: int) -> int:
    """Write the same quotes for each date, at its times; returns how many a date has."""
    drawn = concatenate(list(Load(quotes, _SYMBOLS, per_symbol_second=_PER_SYMBOL_SECOND).chunks()))
    first = utc_date(START)
    for number, symbol in enumerate(drawn.symbols):
        rows = drawn.take(np.flatnonzero(drawn.number == number))
        order = np.argsort(rows.ts, kind="stable")
        prices = tuple(getattr(rows, name)[order] for name in PRICES)
        for day in range(dates):
            path = file_path(folder, first + datetime.timedelta(days=day), symbol, "drawn")
            write_file(path, symbol, rows.ts[order] + day * DAY_NS, prices)
    return len(drawn)


def _run(work: Path, folder: Path, case: _Case, of_date: int) -> dict[str, float]:
    last = utc_date(START) + datetime.timedelta(days=case.dates - 1)
    command = [sys.executable, "-P", "-m", "agents.cli", "backtest", str(folder), "--to", str(last)]
    command += ["--work", str(work), "--workers", str(case.workers), *case.more]
    told, used = (work.with_name(f"{work.name}.{kind}") for kind in ("log", "json"))
    with told.open("wb") as log:
        ended = subprocess.run(
            [sys.executable, "-m", "benchmarks.usage", str(used), *command], stdout=log, stderr=log, check=False
        )
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)}: {told.read_text()}")
    figures = json.loads(used.read_bytes())
    quotes = case.dates * of_date / 1e6
    return {
        "s": figures["seconds"],
        "million quotes/s": quotes / figures["seconds"],
        "CPU s": figures["cpu_seconds"],
        "million quotes a CPU second": quotes / figures["cpu_seconds"],
        "peak MB": figures["peak_bytes"] / 2**20,
    }


def _median(one: Row, figure: str) -> float:
    return statistics.median(one.figures[figure])
