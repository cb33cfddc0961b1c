"""Quotes from the formats of others into Parquet files by date and symbol.

A source file is read whole: about 100 bytes of memory a quote. Importing it again from the same place replaces what it
gave before.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from agents.backtest.store import PRICES, by_date, file_path, midnight, write_file, zone_named
from agents.feeds.quotes import TS_NAMES
from agents.stream.errors import BadConfiguration
from schemas.times import NS

_UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": NS}
_UNPLAIN = re.compile(r"[^A-Za-z0-9_-]")
_MOST_CHARACTERS = 120
_NEW_YORK = "America/New_York"
_LOBSTER_NAME = re.compile(r"(?P<symbol>[^_]+)_(?P<date>\d{4}-\d\d-\d\d)_\d+_\d+_orderbook_\d+\.csv")
_LOBSTER_EMPTY = 9_999_999_999
_LEAN_NAME = re.compile(r"(?P<date>\d{8})_quote\.zip")
_LEAN_STEPS = {"second": NS, "minute": 60 * NS}
_BINANCE_NAME = re.compile(r"(?P<symbol>[A-Z0-9_]+)-bookTicker-\d{4}-\d\d(-\d\d)?\.(zip|csv)")
_BINANCE = ["update_id", "best_bid_price", "best_bid_qty", "best_ask_price", "best_ask_qty", "transaction_time"]
_BINANCE_COLUMNS = [*_BINANCE, "event_time"]


@dataclass(frozen=True)
class Rows:
    """Quotes of one symbol in the order of their source; ts: int64 ns; prices: float64, as `PRICES`."""

    symbol: str
    ts: np.ndarray
    prices: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class CsvOptions:
    """How a CSV or Parquet file of quotes names its columns. unit: of its times; symbol: where no column has it."""

    columns: Mapping[str, str] = field(default_factory=dict)
    unit: str = "ns"
    symbol: str | None = None


@dataclass
class Imported:
    """What an import has written."""

    files: int = 0
    quotes: int = 0


Reader = Callable[[Path], Iterator[Rows]]


def import_files(reader: Reader, paths: Sequence[Path], folder: Path, zone: str) -> Iterator[tuple[Path, Imported]]:
    """Turn source files into Parquet below a folder, by date of a zone and symbol; yields after each of them.

    Raises BadConfiguration naming the file and what is wrong with it.
    """
    where = zone_named(zone)
    for path in paths:
        written, name = Imported(), _target_name(path)
        try:
            for rows in reader(path):
                order = np.argsort(rows.ts, kind="stable")
                ts = rows.ts[order]
                prices = tuple(price[order] for price in rows.prices)
                for date, part in by_date(ts, where):
                    target = file_path(folder, date, rows.symbol, name)
                    write_file(target, rows.symbol, ts[part], tuple(price[part] for price in prices))
                    written.files += 1
                    written.quotes += part.stop - part.start
        except FileNotFoundError:
            raise BadConfiguration(f"{path}: no such file") from None
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, pa.ArrowException) as error:
            raise BadConfiguration(f"{path}: cannot be read: {error}") from error
        yield path, written


def _target_name(path: Path) -> str:
    """What the files made of a source are called: no other source's, wherever it lies and whatever its endings."""
    place = hashlib.sha256(bytes(path.resolve())).hexdigest()[:12]
    # Folder and name come first: quotes of one ts are taken in the order of files' names, the same on every machine.
    return f"{_UNPLAIN.sub('_', f'{path.resolve().parent.name}-{path.name}')[:_MOST_CHARACTERS]}-{place}"


def default_zone(kind: str) -> str:
    """The zone whose dates divide the quotes of a format."""
    return _NEW_YORK if kind in ("lobster", "lean") else "UTC"


def csv_reader(options: CsvOptions) -> Reader:
    """Reads CSV, CSV.gz and Parquet files with columns ts (or ts_ns), symbol, bid, bid_size, ask, ask_size."""
    if options.unit not in _UNITS:
        raise BadConfiguration(f"--unit {options.unit}: expected one of {', '.join(_UNITS)}")
    unknown = set(options.columns) - {"ts", "symbol", *PRICES}
    if unknown:
        raise BadConfiguration(f"--column {unknown.pop()}: expected ts, symbol, {', '.join(PRICES)}")
    return lambda path: _csv(path, options)


def _csv(path: Path, options: CsvOptions) -> Iterator[Rows]:
    names = {name: options.columns.get(name, name) for name in ("ts", "symbol", *PRICES)}
    if path.suffix == ".parquet":
        table = pa.parquet.read_table(path)
    else:
        # Else 005930 would be read as a number, TRUE as a truth value, and NA as none.
        as_text = pa.csv.ConvertOptions(column_types={names["symbol"]: pa.string()})
        table = pa.csv.read_csv(path, convert_options=as_text)
    if "ts" not in options.columns:
        names["ts"] = next((name for name in TS_NAMES if name in table.column_names), "ts")
    needed = [name for name in names if not (name == "symbol" and options.symbol)]
    missing = [names[name] for name in needed if names[name] not in table.column_names]
    if missing:
        has = ", ".join(table.column_names)
        raise BadConfiguration(f"{path}: missing column {', '.join(missing)}; it has: {has}; see --column, --symbol")
    ts = _times(table[names["ts"]], options.unit)
    prices = [_floats(table[names[name]]) for name in PRICES]
    if options.symbol:
        yield Rows(options.symbol, ts, tuple(prices))
        return
    coded = table[names["symbol"]].cast(pa.string()).combine_chunks().dictionary_encode()
    if coded.null_count or "" in coded.dictionary.to_pylist():
        raise BadConfiguration(f"{path}: there are rows without a symbol")
    places = coded.indices.to_numpy()
    for number, symbol in enumerate(coded.dictionary.to_pylist()):
        own = np.flatnonzero(places == number)
        yield Rows(symbol, ts[own], tuple(price[own] for price in prices))


def lobster(path: Path) -> Iterator[Rows]:
    """Reads a LOBSTER order book; its message file, which has the times, lies beside it."""
    name = _LOBSTER_NAME.fullmatch(path.name)
    if not name:
        raise BadConfiguration(f"{path}: expected the name SYMBOL_DATE_START_END_orderbook_LEVELS.csv")
    messages = path.with_name(path.name.replace("_orderbook_", "_message_"))
    if not messages.exists():
        raise BadConfiguration(f"{path}: its message file is missing: {messages.name}")
    # Ask price, ask size, bid price, bid size, level by level; times are seconds after midnight in New York.
    book = _headless(path.read_bytes(), 4)
    seconds = _headless(messages.read_bytes(), 1)[0]
    if len(seconds) != len(book[0]):
        raise BadConfiguration(f"{path} has {len(book[0])} rows, but {messages.name} has {len(seconds)}")
    start = midnight(datetime.date.fromisoformat(name["date"]), zone_named(_NEW_YORK))
    ask, ask_size, bid, bid_size = book
    bid, ask = (np.where(np.abs(price) >= _LOBSTER_EMPTY, np.nan, price) / 10_000 for price in (bid, ask))
    ts = start + np.rint(seconds * NS).astype(np.int64)
    yield Rows(name["symbol"], ts, (bid, bid_size, ask, ask_size))


def lean(path: Path) -> Iterator[Rows]:
    """Reads a file of Lean's equity quotes, ``…/tick|second|minute/SYMBOL/YYYYMMDD_quote.zip``.

    A tick changes the side that it names. A bar gives its closing quotes at its end. Suspicious ticks are left out.
    """
    name = _LEAN_NAME.fullmatch(path.name)
    resolution, symbol = path.parent.parent.name, path.parent.name.upper()
    if not name or resolution not in ("tick", *_LEAN_STEPS):
        raise BadConfiguration(f"{path}: expected tick|second|minute/SYMBOL/YYYYMMDD_quote.zip")
    date = datetime.datetime.strptime(name["date"], "%Y%m%d").date()
    content = _only_member(path)
    start = midnight(date, zone_named(_NEW_YORK))
    if resolution == "tick":
        milliseconds, bid, bid_size, ask, ask_size, _, _, suspicious = _headless(content, 8, text=(5, 6))
        honest = np.flatnonzero(suspicious == 0)
        sides = (bid, bid_size), (ask, ask_size)
        (bid, bid_size), (ask, ask_size) = (_latest(price[honest], size[honest]) for price, size in sides)
        ts = start + np.rint(milliseconds[honest] * 1e6).astype(np.int64)
    else:
        milliseconds, _, _, _, bid, bid_size, _, _, _, ask, ask_size = _headless(content, 11)
        ts = start + np.rint(milliseconds * 1e6).astype(np.int64) + _LEAN_STEPS[resolution]
    yield Rows(symbol, ts, (bid / 10_000, bid_size, ask / 10_000, ask_size))


def binance(path: Path) -> Iterator[Rows]:
    """Reads a book ticker file of Binance's public archive, ``SYMBOL-bookTicker-DATE.zip`` or ``.csv``.

    The archive's files are not always in order: rows are sorted by event time, then by update id.
    """
    name = _BINANCE_NAME.fullmatch(path.name)
    if not name:
        raise BadConfiguration(f"{path}: expected the name SYMBOL-bookTicker-DATE.zip or .csv")
    content = _only_member(path) if path.suffix == ".zip" else path.read_bytes()
    read = pa.csv.ReadOptions(column_names=None if content[:1].isalpha() else _BINANCE_COLUMNS)
    types = {column: pa.int64() if column.endswith(("id", "time")) else pa.float64() for column in _BINANCE_COLUMNS}
    convert = pa.csv.ConvertOptions(column_types=types)
    table = pa.csv.read_csv(io.BytesIO(content), read_options=read, convert_options=convert)
    event, update = table["event_time"].to_numpy(), table["update_id"].to_numpy()
    order = np.lexsort((update, event))
    columns = ("best_bid_price", "best_bid_qty", "best_ask_price", "best_ask_qty")
    prices = tuple(_floats(table[column])[order] for column in columns)
    yield Rows(name["symbol"], event[order] * _UNITS["ms"], prices)


READERS: Mapping[str, Reader] = {"lobster": lobster, "lean": lean, "binance": binance}
"""Readers without options, by the name of their format."""


def _latest(price: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Price and size of the last tick that named this side; NaN before the first."""
    named = np.maximum.accumulate(np.where(price > 0, np.arange(len(price)), -1))
    known = named >= 0
    return np.where(known, price[named], np.nan), np.where(known, size[named], np.nan)


def _only_member(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(names) != 1:
            raise BadConfiguration(f"{path}: expected one file in it, there are {len(names)}")
        return archive.read(names[0])


def _headless(content: bytes, columns: int, text: Sequence[int] = ()) -> list[np.ndarray]:
    """The first columns of a CSV text without a header; those in `text` are no numbers and come back empty."""
    width = content[: content.find(b"\n")].count(b",") + 1
    names = [f"c{n}" for n in range(width)]
    if width < columns:
        raise ValueError(f"expected {columns} columns, there are {width}")
    wanted = [name for n, name in enumerate(names[:columns]) if n not in text]
    convert = pa.csv.ConvertOptions(column_types=dict.fromkeys(wanted, pa.float64()), include_columns=wanted)
    table = pa.csv.read_csv(
        io.BytesIO(content), read_options=pa.csv.ReadOptions(column_names=names), convert_options=convert
    )
    return [np.zeros(0) if n in text else _floats(table[names[n]]) for n in range(columns)]


def _floats(column: Any) -> np.ndarray:
    values: np.ndarray = column.cast(pa.float64()).to_numpy()
    return values


def _times(column: Any, unit: str) -> np.ndarray:
    """Times as int64 ns: numbers in a unit, timestamps, or RFC 3339 text (UTC where it has no zone)."""
    if pa.types.is_string(column.type):
        column = column.cast(
            pa.timestamp(
                "ns", "UTC" if pc.any(pc.match_substring_regex(column, "Z$|[+-]\\d\\d:?\\d\\d$")).as_py() else None
            )
        )
    if pa.types.is_timestamp(column.type):
        values = column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64()).to_numpy()
    elif pa.types.is_integer(column.type):
        values = column.cast(pa.int64()).to_numpy() * _UNITS[unit]
    else:
        values = np.rint(_floats(column) * _UNITS[unit]).astype(np.int64)
    if column.null_count:
        raise ValueError("there are rows without a time")
    times: np.ndarray = values
    return times
