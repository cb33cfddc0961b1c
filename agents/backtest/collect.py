"""From the folders of all tasks to the files that were asked for, one date at a time."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agents.backtest import kernel, tables
from agents.backtest.arrow import column, numbers
from agents.backtest.catalog import Day
from agents.backtest.statistics import Drawdown, Markouts, sharpe
from agents.backtest.task import KINDS, Plan, is_done, kept_equity, kept_table
from agents.backtest.variant import EQUITY_STEP_NS, HORIZONS_SECONDS
from agents.stream.errors import BadConfiguration

_SUMS = [name for name in kernel.DAY.names or () if name != "max_exposure"]
_POINTS = 3_000
_FEWEST_POINTS = 600
POSITION_COLUMNS = [
    *("setting", "date", "symbol", "ts", "shares", "average_cost", "cash", "realised", "fees", "trades", "state"),
    *("control_version", "loss_latched_version"),
]
PNL_COLUMNS = [
    *("setting", "date", "symbol", "ts", "shares", "average_cost", "realised", "unrealised", "fees", "net"),
    *("net_change", "mark", "mark_ts"),
]


@dataclass(frozen=True)
class Outputs:
    """Where results go; None: nowhere. folder: all tables; trades, executions: one of them each."""

    folder: Path | None = None
    trades: Path | None = None
    executions: Path | None = None

    def paths(self) -> dict[str, list[Path]]:
        """Every file of trades, executions and days that is to be written. Raises BadConfiguration."""
        found: dict[str, list[Path]] = {}
        kind_of: dict[Path, str] = {}
        for kind, named in (("trades", self.trades), ("executions", self.executions), ("days", None)):
            wanted = [path for path in (named, self.folder and self.folder / f"{kind}.parquet") if path]
            for path in wanted:
                if kind_of.setdefault(path.resolve(), kind) != kind:
                    raise BadConfiguration(f"{path} would hold two tables; give each a file of its own")
            found[kind] = list({path.resolve(): path for path in wanted}.values())
        return found


@dataclass
class Summary:
    """One setting over all dates.

    dates: net change and sums by date; symbols: the same by symbol; equity_ts (ns), equity and falls (dollars): points
    of the curve; equity_starts: where each date's begin.
    """

    dates: dict[str, dict[str, float]] = field(default_factory=dict)
    symbols: dict[str, dict[str, float]] = field(default_factory=dict)
    trades_by_day: dict[tuple[str, str], int] = field(default_factory=dict)
    equity_starts: list[int] = field(default_factory=list)
    equity_ts: list[int] = field(default_factory=list)
    equity: list[float] = field(default_factory=list)
    falls: list[float] = field(default_factory=list)
    drawdown: Drawdown = field(default_factory=Drawdown)
    markouts: Markouts = field(default_factory=lambda: Markouts(len(HORIZONS_SECONDS)))
    base: float = 0.0

    def totals(self) -> dict[str, float | None]:
        """The figures of the whole."""
        sums = {name: sum(row[name] for row in self.symbols.values()) for name in _ADDED}
        trades = sums["buys"] + sums["sells"]
        signals, closing = sums["signals"], sums["closing_trades"]
        wanted = sums["buys_wanted"] + sums["sells_wanted"]
        daily = [row["net_change"] for row in self.dates.values()]
        return {
            **sums,
            "trades": trades,
            "hit_rate": sums["winning_trades"] / closing if closing else None,
            "time_in_market": sums["in_market"] / signals if signals else None,
            "mean_exposure": sum(
                row["exposure_sum"] / row["signals"] for row in self.symbols.values() if row["signals"]
            ),
            "max_exposure": max((row["max_exposure"] for row in self.symbols.values()), default=0.0),
            "sharpe": sharpe(daily),
            "max_drawdown": self.drawdown.largest,
            "best_day": max(daily, default=None),
            "worst_day": min(daily, default=None),
            "filled_share": (sums["filled"] + sums["clipped"]) / wanted if wanted else None,
            "net_bps_of_turnover": sums["net_change"] / sums["turnover"] * 1e4 if sums["turnover"] else None,
        }


_CHANGES = ["net_change", "realised_change", "fees_change"]
_ADDED = [*_CHANGES, *_SUMS]
_NOTHING: dict[str, float] = dict.fromkeys(_CHANGES, 0.0) | {
    name: kernel.DAY[name].type().item() for name in kernel.DAY.names or ()
}


class Collector:
    """Takes the dates of a plan in their order, each as soon as all of its tasks are done.

    left: the dates not yet taken. Used in a `with` block; outputs appear when `finish` has been called, and not at all
    if it has not. Raises BadConfiguration where they cannot be written.
    """

    def __init__(self, plan: Plan, outputs: Outputs) -> None:
        self._plan = plan
        self._outputs = outputs
        self._summaries = [Summary() for _ in plan.settings]
        self.left = deque(plan.catalog.days)
        self._undone: deque[Path] = deque()
        span = sum((day.last_ts - day.first_ts) // EQUITY_STEP_NS + 1 for day in plan.catalog.days)
        self._stride = max(1, -(-span // max(_FEWEST_POINTS, int(_POINTS / len(plan.settings) ** 0.5))))
        self._before: dict[tuple[int, str], dict[str, float]] = {}
        self._ends = pa.Table.from_batches([], _plain(tables.DAYS))
        self._writers: dict[str, list[_Writer]] = {}

    def __enter__(self) -> Self:
        try:
            for kind, paths in self._outputs.paths().items():
                own = self._writers.setdefault(kind, [])
                for path in paths:
                    own.append(_Writer(path, kind))
        except BadConfiguration:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for writer in self._every_writer():
            writer.discard()

    def advance(self) -> None:
        """Take the dates whose tasks are done by now."""
        while self.left:
            # A folder that is done is not looked at again: there may be many, and this is asked after each task.
            self._undone = self._undone or deque(self._folders(self.left[0]))
            while self._undone and is_done(self._undone[0]):
                self._undone.popleft()
            if self._undone:
                return
            self._take(self.left.popleft())

    def finish(self) -> list[Summary]:
        """Take what is left, all tasks being done; the summaries of the settings."""
        while self.left:
            self._take(self.left.popleft())
        for writer in self._every_writer():
            writer.keep()
        if self._outputs.folder is not None:
            _write_summaries(self._outputs.folder, self._plan, self._ends, self._summaries)
        return self._summaries

    def _every_writer(self) -> list[_Writer]:
        return [writer for writers in self._writers.values() for writer in writers]

    def _folders(self, day: Day) -> list[Path]:
        return [self._plan.folders[day.date, block] for block in range(len(self._plan.catalog.blocks))]

    def _take(self, day: Day) -> None:
        folders, carry = self._folders(day), self._plan.carry
        wanted = [kind for kind in KINDS if kind != "executions" or self._writers[kind]]
        parts = {kind: _joined(folders, kind) for kind in wanted}
        for kind, table in parts.items():
            for writer in self._writers[kind]:
                writer.write(table)
        self._ends = parts["days"] if carry else _latest(self._ends, parts["days"])
        _add_days(self._summaries, parts["days"], str(day.date), self._before if carry else {})
        _add_trades(self._summaries, parts["trades"])
        equity = np.add.reduce([kept_equity(folder) for folder in folders])
        for summary, curve in zip(self._summaries, equity, strict=True):
            _add_equity(summary, curve, day, self._stride, carry)


class _Writer:
    """Writes a file under another name until it is whole. Words become plain strings: each task has its own codes."""

    def __init__(self, path: Path, kind: str) -> None:
        self._path = path
        self._half = path.with_name(f".{path.name}.part")
        self._schema = _plain({"trades": tables.TRADES, "executions": tables.EXECUTIONS, "days": tables.DAYS}[kind])
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = pq.ParquetWriter(self._half, self._schema, compression="zstd")

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        with self._told():
            self._file.write_table(table.cast(self._schema))

    def keep(self) -> None:
        """Give the file its name."""
        with self._told():
            self._file.close()
            self._half.replace(self._path)

    def discard(self) -> None:
        """Leave no half of a file; one that is kept stays."""
        with contextlib.suppress(OSError):
            self._file.close()
            self._half.unlink()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BadConfiguration(f"cannot write {self._path}: {error}") from error


def _plain(schema: pa.Schema) -> pa.Schema:
    return pa.schema(
        [field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field for field in schema]
    )


def _joined(folders: list[Path], kind: str) -> pa.Table:
    """The tables of one date, by setting, time and symbol."""
    joined = pa.concat_tables([kept_table(folder, kind) for folder in folders])
    joined = joined.cast(_plain(joined.schema))
    order = ("setting", "symbol") if kind == "days" else ("setting", "ts", "symbol")
    return joined.sort_by([(name, "ascending") for name in order])


def _latest(before: pa.Table, table: pa.Table) -> pa.Table:
    """The last row of each setting and symbol: of a date, else of those before it."""
    keys = ("setting", "symbol")
    new = set(zip(*(table[name].to_pylist() for name in keys), strict=True))
    others = [key not in new for key in zip(*(before[name].to_pylist() for name in keys), strict=True)]
    # Not Table.join, which would import pandas.
    joined = pa.concat_tables([table, before.filter(column(np.array(others, np.bool_), pa.bool_()))])
    return joined.sort_by([(name, "ascending") for name in keys])


def _add_days(
    summaries: list[Summary], table: pa.Table, date: str, before: dict[tuple[int, str], dict[str, float]]
) -> None:
    for summary in summaries:
        # A date on which nothing was decided is a day without a result, not none.
        summary.dates[date] = dict(_NOTHING)
    for row in table.to_pylist():
        key = row["setting"], row["symbol"]
        earlier = before.get(key, {})
        row["realised_change"] = row["realised"] - earlier.get("realised", 0.0)
        row["fees_change"] = row["fees"] - earlier.get("fees", 0.0)
        before[key] = {"realised": row["realised"], "fees": row["fees"]}
        summary = summaries[row["setting"]]
        for sums in (summary.dates[date], summary.symbols.setdefault(row["symbol"], dict(_NOTHING))):
            for name in _ADDED:
                sums[name] += row[name]
            sums["max_exposure"] = max(sums["max_exposure"], row["max_exposure"])
        if row["buys"] + row["sells"]:
            summary.trades_by_day[row["symbol"], date] = row["buys"] + row["sells"]


def _add_trades(summaries: list[Summary], table: pa.Table) -> None:
    setting = numbers(table["setting"])
    sign = np.array([1.0 if side == "BUY" else -1.0 for side in table["side"].to_pylist()])
    shares, price = numbers(table["shares"]), numbers(table["price"])
    later = np.stack([numbers(table[name]) for name in tables.MARKOUTS], axis=1)
    for number, summary in enumerate(summaries):
        own = setting == number
        summary.markouts.take(sign[own], shares[own], price[own], later[own])


def _add_equity(summary: Summary, curve: np.ndarray, day: Day, stride: int, carry: bool) -> None:
    equity = curve + summary.base
    falls = summary.drawdown.take(equity)
    start = day.first_ts // EQUITY_STEP_NS * EQUITY_STEP_NS
    chosen = np.unique(np.append(np.arange(0, len(equity), stride), len(equity) - 1))
    summary.equity_starts.append(len(summary.equity))
    summary.equity_ts += (start + (chosen + 1) * EQUITY_STEP_NS).tolist()
    summary.equity += equity[chosen].tolist()
    summary.falls += falls[chosen].tolist()
    if not carry:
        summary.base = float(equity[-1])


def _write_summaries(folder: Path, plan: Plan, ends: pa.Table, summaries: list[Summary]) -> None:
    pq.write_table(ends.select(POSITION_COLUMNS), folder / "positions.parquet")
    pq.write_table(ends.select(PNL_COLUMNS), folder / "pnl.parquet")
    for kind in ("dates", "symbols"):
        rows = [
            {"setting": number, kind[:-1]: key, **row, **_rates(row)}
            for number, summary in enumerate(summaries)
            for key, row in getattr(summary, kind).items()
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{kind}.parquet")
    predictions = [
        {"setting": number, "symbol": symbol, **_predictions(row)}
        for number, summary in enumerate(summaries)
        for symbol, row in summary.symbols.items()
    ]
    pq.write_table(pa.Table.from_pylist(predictions), folder / "predictions.parquet")
    totals = [
        {"setting": number, "settings": settings.hash, **summary.totals()}
        for number, (settings, summary) in enumerate(zip(plan.settings, summaries, strict=True))
    ]
    pq.write_table(pa.Table.from_pylist(totals), folder / "totals.parquet")


def _rates(row: dict[str, float]) -> dict[str, float | None]:
    return {
        "hit_rate": row["winning_trades"] / row["closing_trades"] if row["closing_trades"] else None,
        "time_in_market": row["in_market"] / row["signals"] if row["signals"] else None,
    }


def _predictions(row: dict[str, float]) -> dict[str, float | None]:
    """What the predictions of a symbol were like, at its decision times; means over the warm ones."""
    warm, wanted = row["warm"], row["buys_wanted"] + row["sells_wanted"]
    return {
        **{name: row[name] for name in ("signals", "warm", "stale", "buys_wanted", "sells_wanted")},
        "mean_sd_bps": row["sd_bps_sum"] / warm if warm else None,
        "mean_spread_bps": row["spread_bps_sum"] / warm if warm else None,
        "mean_edge_bps": row["edge_bps_sum"] / wanted if wanted else None,
    }
