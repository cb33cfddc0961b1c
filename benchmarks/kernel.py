"""The strategy's kernel beside polars' exponentially weighted mean, both in memory."""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agents.feeds.generator import symbol_names
from agents.feeds.quotes import Quotes, concatenate
from agents.strategy.desk import Desk
from agents.strategy.grid import LISTED
from agents.strategy.session import calendar_of
from agents.strategy.settings import Settings
from benchmarks import peers_environment
from benchmarks.audit import TOLERANCE, AuditFailed
from benchmarks.quotes import Load
from benchmarks.report import Table, row
from benchmarks.setting import Setting
from schemas.columns import QUOTE, Columns
from schemas.times import NS

_PROGRAM = Path(__file__).parent / "peers" / "polars_program.py"
_BATCH = 50_000


def kernel(setting: Setting) -> Iterator[Table]:
    """Quotes of 100 symbols in the order of their times."""
    load = Load(setting.quotes)
    quotes = concatenate(list(load.chunks()))
    names = symbol_names(load.symbols)
    source, target = setting.folder / "quotes.parquet", setting.folder / "means.parquet"
    pq.write_table(_table(quotes), source)
    half_life = round(Settings().tau_seconds * NS * math.log(2))
    conditions = setting.conditions(
        f"{len(quotes) / 1e6:.2f} million quotes of {load.symbols} symbols in memory", f"{setting.repeats} runs in turn"
    )
    remarks: list[str] = []
    ours, theirs = [], []
    program = _polars(remarks)
    for _ in range(setting.repeats):
        figures, means = _ours(quotes, load.symbols)
        ours.append(figures)
        if program is not None:
            command = [program, str(_PROGRAM), str(source), str(half_life), str(target)]
            result = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
            theirs.append(_figures(len(quotes), result["seconds"], result["cpu_seconds"]))
            _compare(dict(zip(names, means.tolist(), strict=True)), pq.read_table(target).to_pydict())
    rows = [row("our kernel: mean, deviation, marks off, decisions each 10 s (one thread)", ours)]
    if theirs:
        rows.append(row("polars ewm_mean_by over symbols: the mean alone (all cores)", theirs))
    yield Table("The kernel in memory", conditions, rows, remarks)


def _polars(remarks: list[str]) -> str | None:
    try:
        return peers_environment.python()
    except peers_environment.NoPackages as reason:
        remarks.append(f"polars is left out: {reason}")
        return None


def _ours(quotes: Quotes, symbols: int) -> tuple[dict[str, float], np.ndarray]:
    settings = Settings(marks="off")
    desk = Desk(settings, calendar_of(settings))
    desk.grow(symbols)
    desk.interest[:symbols] = LISTED
    batches = [_columns(quotes.take(slice(i, i + _BATCH))) for i in range(0, len(quotes), _BATCH)]
    began, before = time.perf_counter(), time.process_time()
    for batch in batches:
        for _events in desk.advance(batch, 0):
            pass
    seconds, cpu = time.perf_counter() - began, time.process_time() - before
    return _figures(len(quotes), seconds, cpu), desk.rows["ema"][:symbols]


def _columns(quotes: Quotes) -> Columns:
    columns = Columns(len(quotes))
    columns.length = len(quotes)
    columns.kind[:] = QUOTE
    for name in ("number", "ts", "bid", "bid_size", "ask", "ask_size"):
        getattr(columns, name)[:] = getattr(quotes, name)
    return columns


def _table(quotes: Quotes) -> pa.Table:
    symbol = pa.DictionaryArray.from_arrays(quotes.number, pa.array(quotes.symbols))
    return pa.table({"symbol": symbol, "ts": quotes.ts, "bid": quotes.bid, "ask": quotes.ask})


def _figures(quotes: int, seconds: float, cpu_seconds: float) -> dict[str, float]:
    return {
        "million quotes/s": quotes / seconds / 1e6,
        "million quotes a CPU second": quotes / cpu_seconds / 1e6,
        "ns CPU a quote": cpu_seconds / quotes * 1e9,
    }


def _compare(ours: dict[str, float], polars: dict[str, list]) -> None:
    for symbol, mean in zip(polars["symbol"], polars["ema"], strict=True):
        if not math.isclose(mean, ours[symbol], rel_tol=TOLERANCE):
            raise AuditFailed(f"polars: the mean of {symbol} is {mean}, ours is {ours[symbol]}")
