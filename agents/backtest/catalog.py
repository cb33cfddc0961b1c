"""Which files of quotes there are, of which date and symbols, and how the work on them is divided."""

from __future__ import annotations

import datetime
import glob
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agents.backtest.arrow import numbers
from agents.backtest.store import symbol_of, utc_date
from agents.feeds.quotes import TS_NAMES
from agents.stream.errors import BadConfiguration
from schemas.times import rfc3339

_DATE_FOLDER = re.compile(r"date=(\d{4}-\d\d-\d\d)")
_DATE_IN_NAME = re.compile(r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)(?!\d)")
_ROWS_OF_A_TASK = 500_000
_SYMBOLS_OF_A_BLOCK = 64


@dataclass(frozen=True)
class QuoteFile:
    """One Parquet file.

    mixed: the column `symbol` says which rows are of which symbol, or of none; else all rows are of the only one;
    ts_name: of the column; first_ts, last_ts: ns, of its rows; stamp: changes when the file does.
    """

    path: str
    date: datetime.date
    symbols: tuple[str, ...]
    mixed: bool
    rows: int
    ts_name: str
    first_ts: int
    last_ts: int
    stamp: str


@dataclass(frozen=True)
class Part:
    """What one task reads: the files of some symbols on one date."""

    date: datetime.date
    block: int
    files: tuple[QuoteFile, ...]

    @property
    def name(self) -> str:
        """How the task is called in messages."""
        return f"{self.date} block {self.block}"

    @property
    def rows(self) -> int:
        """Quotes in its files."""
        return sum(file.rows for file in self.files)


@dataclass(frozen=True)
class Day:
    """One date of all files. first_ts, last_ts: ns, of all its rows."""

    date: datetime.date
    first_ts: int
    last_ts: int


@dataclass(frozen=True)
class Catalog:
    """All files of a backtest: days in order, blocks of symbols, and the parts by (day, block)."""

    days: tuple[Day, ...]
    blocks: tuple[tuple[str, ...], ...]
    parts: dict[tuple[datetime.date, int], Part]

    @property
    def rows(self) -> int:
        """Quotes in all files."""
        return sum(part.rows for part in self.parts.values())

    @property
    def symbols(self) -> list[str]:
        """All symbols, in their order."""
        return sorted(symbol for block in self.blocks for symbol in block)


def find_files(
    patterns: Iterable[str],
    first: datetime.date | None = None,
    last: datetime.date | None = None,
    symbols: Sequence[str] = (),
) -> list[QuoteFile]:
    """The Parquet files that folders, patterns and names stand for, of dates first..last and of some symbols.

    Raises BadConfiguration when nothing is found or a file cannot be used.
    """
    patterns = list(patterns)
    # Absolute: workers elsewhere run in other folders, and a file that is named in two ways is one.
    paths = list(dict.fromkeys(str(Path(path).absolute()) for pattern in patterns for path in sorted(_expand(pattern))))
    if not paths:
        raise BadConfiguration(
            f"no Parquet files of quotes in {' '.join(patterns)}; make some with: mm import csv, or mm import synthetic"
        )
    files = []
    for path in paths:
        named = _date_of_name(path)
        if named is not None and not _within(named, first, last):
            continue
        symbol = symbol_of(path)
        if symbols and symbol and symbol not in symbols:
            continue
        file = _describe(Path(path), named, symbol)
        if file is None or not _within(file.date, first, last):
            continue
        if not symbols or set(file.symbols) & set(symbols):
            files.append(file)
    if not files:
        raise BadConfiguration(f"none of the {len(paths)} files has quotes of these dates and symbols")
    return files


def catalogue(files: Sequence[QuoteFile], symbols: Sequence[str] = ()) -> Catalog:
    """The work on files, divided. Raises BadConfiguration when the dates overlap."""
    days = _days(files)
    chosen = set(symbols) or {symbol for file in files for symbol in file.symbols}
    blocks = _blocks(files, chosen, len(days))
    block_of = {symbol: number for number, block in enumerate(blocks) for symbol in block}
    grouped: dict[tuple[datetime.date, int], list[QuoteFile]] = {}
    for file in files:
        number = next(block_of[symbol] for symbol in file.symbols if symbol in block_of)
        grouped.setdefault((file.date, number), []).append(file)
    parts = {}
    for day in days:
        for number in range(len(blocks)):
            parts[day.date, number] = Part(day.date, number, tuple(grouped.get((day.date, number), ())))
    return Catalog(tuple(days), tuple(tuple(block) for block in blocks), parts)


def _expand(pattern: str) -> list[str]:
    if Path(pattern).is_dir():
        return [str(path) for path in Path(pattern).rglob("*.parquet")]
    # Not Path.glob, which takes no absolute patterns.
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207
    wrong = [path for path in found if not path.endswith(".parquet") and Path(path).is_file()]
    if wrong:
        raise BadConfiguration(
            f"{wrong[0]} is no Parquet file; turn it into some with: mm import csv {wrong[0]} --to data"
        )
    return [path for path in found if path.endswith(".parquet")]


def _date_of_name(path: str) -> datetime.date | None:
    folder = _DATE_FOLDER.search(path)
    try:
        if folder:
            return datetime.date.fromisoformat(folder[1])
        name = _DATE_IN_NAME.search(Path(path).name)
        return datetime.date(*map(int, name.groups())) if name else None
    except ValueError:
        return None


def _within(date: datetime.date, first: datetime.date | None, last: datetime.date | None) -> bool:
    return (first is None or date >= first) and (last is None or date <= last)


def _describe(path: Path, date: datetime.date | None, symbol: str | None) -> QuoteFile | None:
    """What a file holds, from its metadata; None for one without rows."""
    try:
        file = pq.ParquetFile(path, memory_map=True)
        status = path.stat()
    except (OSError, pa.ArrowException) as error:
        raise BadConfiguration(f"{path}: cannot be read: {error}") from error
    names = file.schema_arrow.names
    ts_name = next((name for name in TS_NAMES if name in names), None)
    missing = [name for name in ("bid", "bid_size", "ask", "ask_size") if name not in names]
    missing += [] if ts_name else ["ts"]
    missing += [] if symbol or "symbol" in names else ["symbol"]
    if ts_name is None or missing:
        raise BadConfiguration(f"{path}: missing column {', '.join(missing)}; it has: {', '.join(names)}")
    if not file.metadata.num_rows:
        return None
    try:
        first_ts, last_ts = _range(path, file, names.index(ts_name), ts_name)
    except pa.ArrowException as error:
        raise BadConfiguration(
            f"{path}: {ts_name} is neither nanoseconds since 1970 nor a timestamp: {error}; have it read by: "
            f"mm import csv {path} --to data"
        ) from error
    if date is None:
        date = utc_date(first_ts)
        if utc_date(last_ts) != date:
            raise BadConfiguration(
                f"{path} holds {rfc3339(first_ts)} to {rfc3339(last_ts)}, more than one date; divide it with: "
                f"mm import csv {path} --to data"
            )
    symbols, mixed = ((symbol,), False) if symbol else _symbols(path, file, names.index("symbol"))
    stamp = f"{status.st_size} {status.st_mtime_ns}"
    return QuoteFile(str(path), date, symbols, mixed, file.metadata.num_rows, ts_name, first_ts, last_ts, stamp)


def _range(path: Path, file: pq.ParquetFile, column: int, name: str) -> tuple[int, int]:
    """Smallest and largest ts, from the statistics where the file has them."""
    lows, highs = [], []
    for group in range(file.metadata.num_row_groups):
        statistics = file.metadata.row_group(group).column(column).statistics
        if statistics is None or not statistics.has_min_max or not isinstance(statistics.min_raw, int):
            break
        if statistics.null_count:
            break
        lows.append(statistics.min_raw)
        highs.append(statistics.max_raw)
    else:
        if pa.types.is_int64(file.schema_arrow.field(name).type):
            return min(lows), max(highs)
    times = file.read([name]).column(0)
    if times.null_count:
        raise BadConfiguration(f"{path} has rows without {name}")
    values = numbers(ns_of(times))
    return int(values.min()), int(values.max())


def ns_of(column: Any) -> Any:
    """A column of times as int64 ns."""
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64())
    return column.cast(pa.int64())


def _symbols(path: Path, file: pq.ParquetFile, column: int) -> tuple[tuple[str, ...], bool]:
    """The symbols of a file, and whether its rows are not all of one, from the statistics where they tell."""
    kind = file.schema_arrow.field("symbol").type
    text = kind.value_type if pa.types.is_dictionary(kind) else kind
    if text not in (pa.string(), pa.large_string(), pa.string_view(), pa.null()):
        raise BadConfiguration(f"{path}: symbol is {kind}, not text; have it read by: mm import csv {path} --to data")
    found: set[str | None] = set()
    for group in range(file.metadata.num_row_groups):
        statistics = file.metadata.row_group(group).column(column).statistics
        if statistics is None or not statistics.has_min_max or statistics.min != statistics.max:
            break
        if not statistics.has_null_count or statistics.null_count:
            break
        found.add(statistics.min)
    else:
        return _named(path, found)
    return _named(path, set(file.read(["symbol"]).column(0).unique().to_pylist()))


def _named(path: Path, found: set[str | None]) -> tuple[tuple[str, ...], bool]:
    symbols = tuple(sorted(symbol for symbol in found if symbol))
    if not symbols:
        raise BadConfiguration(f"{path}: no row has a symbol")
    return symbols, len(found) > 1


def _days(files: Sequence[QuoteFile]) -> list[Day]:
    days: list[Day] = []
    for date in sorted({file.date for file in files}):
        of_date = [file for file in files if file.date == date]
        day = Day(date, min(file.first_ts for file in of_date), max(file.last_ts for file in of_date))
        if days and day.first_ts < days[-1].last_ts:
            raise BadConfiguration(
                f"the quotes of {date} begin at {rfc3339(day.first_ts)}, before those of {days[-1].date} end; "
                "divide the files by date with: mm import csv"
            )
        days.append(day)
    return days


def _blocks(files: Sequence[QuoteFile], chosen: set[str], days: int) -> list[list[str]]:
    """Symbols in blocks of about equal work; symbols that share a file stay together."""
    groups: dict[str, set[str]] = {}
    rows: dict[str, int] = {}
    for file in files:
        together = {symbol for symbol in file.symbols if symbol in chosen}
        for symbol in tuple(together):
            together |= groups.get(symbol, set())
        for symbol in together:
            groups[symbol] = together
        share = file.rows // len(file.symbols)
        for symbol in file.symbols:
            rows[symbol] = rows.get(symbol, 0) + share
    blocks: list[list[str]] = []
    room = 0
    done: set[str] = set()
    for symbol in sorted(groups):
        if symbol in done:
            continue
        group = sorted(groups[symbol])
        done.update(group)
        work = sum(rows[member] for member in group) // days
        if not blocks or work > room or len(blocks[-1]) + len(group) > _SYMBOLS_OF_A_BLOCK:
            blocks.append([])
            room = _ROWS_OF_A_TASK
        blocks[-1] += group
        room -= work
    return blocks
