"""A backtest of a few quotes: rows to Parquet files, tasks one after the other, records out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from agents.backtest.catalog import Catalog, catalogue, find_files
from agents.backtest.collect import Collector, Outputs, Summary
from agents.backtest.controls import ControlLine
from agents.backtest.store import file_path
from agents.backtest.task import KINDS, Plan, kept_table, run_task, tasks_of
from agents.backtest.variant import Options
from agents.strategy.settings import Settings
from schemas.records import Execution, Trade
from schemas.times import NS

PRICES = ("bid", "bid_size", "ask", "ask_size")


def write_quotes(folder: Path, rows: Iterable[Mapping[str, Any]], row_group_size: int = 10_000) -> None:
    """Rows (fields of `Quote`) as one file a date and symbol."""
    grouped: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        grouped.setdefault((row["ts"] // (86_400 * NS), row["symbol"]), []).append(row)
    for (day, symbol), group in grouped.items():
        path = file_path(folder, np.datetime64(day, "D").item(), symbol, "quotes")
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table_of(group), path, row_group_size=row_group_size)


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table of quotes."""
    columns = {"symbol": pa.array([row["symbol"] for row in rows], pa.string())}
    columns["ts"] = pa.array([row["ts"] for row in rows], pa.int64())
    return pa.table(columns | {name: pa.array([float(row[name]) for row in rows]) for name in PRICES})


def plan_of(
    data: Path,
    work: Path,
    controls: Sequence[ControlLine],
    *settings: Settings,
    options: Options | None = None,
    carry: bool = True,
    symbols: Sequence[str] = (),
) -> Plan:
    """A plan for all files of a folder."""
    catalog: Catalog = catalogue(find_files([str(data)], symbols=symbols), symbols)
    return Plan(settings or (Settings(),), options or Options(), tuple(controls), carry, work, catalog)


def run_tasks(plan: Plan) -> dict[str, pa.Table]:
    """All tasks in this process; their tables, by kind."""
    tasks = tasks_of(plan)
    for task in tasks:
        run_task(task)
    return {kind: pa.concat_tables([kept_table(task.folder, kind) for task in tasks]) for kind in KINDS}


def trades_bytes(plan: Plan, file: Path) -> bytes:
    """The trades of a finished plan as the file that the command writes."""
    collect(plan, Outputs(trades=file))
    return file.read_bytes()


def records(table: pa.Table, kind: type[Trade] | type[Execution], setting: int = 0) -> list[dict[str, Any]]:
    """The rows of one setting with the fields of a record, by time and symbol."""
    rows = [row for row in table.to_pylist() if row["setting"] == setting]
    chosen = [{name: row[name] for name in kind.__struct_fields__} for row in rows]
    return sorted(chosen, key=lambda row: (row["ts"], row["symbol"]))


def as_bytes(rows: Iterable[Mapping[str, Any]]) -> list[bytes]:
    """Each row as JSON with every field at full precision."""
    return [orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in rows]


def collect(plan: Plan, outputs: Outputs) -> list[Summary]:
    """Write the outputs of a finished plan; the summaries of its settings."""
    with Collector(plan, outputs) as collector:
        return collector.finish()
