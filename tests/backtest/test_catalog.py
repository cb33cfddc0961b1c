"""What files are taken for: their symbols, dates and times, whatever they lack or hold beside them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agents.backtest.catalog import catalogue, find_files
from agents.backtest.reading import read_part
from agents.feeds.files import read_quotes
from agents.stream.errors import BadConfiguration
from schemas.columns import QUOTE
from schemas.times import NS
from tests.backtest.helpers import table_of, write_quotes

NOON = 1_385_553_600 * NS
"""2013-11-27 12:00 UTC."""


def row(symbol: str, second: int, bid: float = 10.0) -> dict[str, Any]:
    return {"symbol": symbol, "ts": NOON + second * NS, "bid": bid, "bid_size": 1.0, "ask": bid + 1, "ask_size": 1.0}


def written(path: Path, table: pa.Table, **columns: Any) -> Path:
    """A table as a file; columns: instead of its own, None for none."""
    for name, values in columns.items():
        table = table.drop_columns([name]) if name in table.column_names else table
        if values is not None:
            table = table.append_column(name, values)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def read(folder: Path, *symbols: str) -> list[tuple[str, int, float]]:
    """The quotes that a backtest takes: symbol, second, bid."""
    files = find_files([str(folder)], symbols=symbols)
    names = catalogue(files, symbols).symbols
    return [
        (names[number], (ts - NOON) // NS, bid)
        for columns in read_part(files, {symbol: n for n, symbol in enumerate(names)})
        for kind, number, ts, bid in zip(columns.kind, columns.number, columns.ts, columns.bid, strict=True)
        if kind == QUOTE
    ]


def test_a_symbol_of_any_characters_keeps_its_name(tmp_path: Path) -> None:
    symbols = ["%", "%2F", "..", "/", "A", "BRK/B", "BRK_B", "a=b", "~!*'()"]
    write_quotes(tmp_path, [row(symbol, second) for symbol in symbols for second in (1, 2)])
    assert catalogue(find_files([str(tmp_path)])).symbols == symbols
    assert sorted(read(tmp_path)) == [(symbol, second, 10.0) for symbol in symbols for second in (1, 2)]
    assert read(tmp_path, "BRK/B") == [("BRK/B", 1, 10.0), ("BRK/B", 2, 10.0)]


def test_a_plain_folder_names_the_symbol_that_it_shows(tmp_path: Path) -> None:
    written(tmp_path / "date=2013-11-27" / "symbol=BRK_B" / "a.parquet", table_of([row("BRK_B", 1)]))
    assert read(tmp_path) == [("BRK_B", 1, 10.0)]


@pytest.mark.parametrize("column", [None, pa.array(["other", "other"])], ids=["none", "another"])
def test_files_that_overlap_are_merged_under_the_name_of_their_folder(tmp_path: Path, column: Any) -> None:
    folder = tmp_path / "date=2013-11-27" / "symbol=BRK%2FB"
    written(folder / "a.parquet", table_of([row("-", 1), row("-", 3)]), symbol=column)
    written(folder / "b.parquet", table_of([row("-", 1, bid=20.0), row("-", 2)]), symbol=column)
    assert read(tmp_path) == [("BRK/B", 1, 10.0), ("BRK/B", 1, 20.0), ("BRK/B", 2, 10.0), ("BRK/B", 3, 10.0)]


def test_of_two_columns_of_times_a_backtest_and_a_replay_take_the_same(tmp_path: Path) -> None:
    table = table_of([row("A", 1), row("A", 2)])
    other = pa.array([ts + 3600 * NS for ts in table["ts"].to_pylist()])
    path = written(tmp_path / "2013-11-27.parquet", table, ts_ns=other)
    assert [second for _, second, _ in read(tmp_path)] == [1, 2]
    assert [(ts - NOON) // NS for quotes in read_quotes([path]) for ts in quotes.ts.tolist()] == [1, 2]


@pytest.mark.parametrize("statistics", [True, False])
def test_rows_without_a_symbol_are_nobodys(tmp_path: Path, statistics: bool) -> None:
    table = table_of([row("A", 1), row("-", 2, bid=99.0), row("A", 3)])
    table = table.set_column(0, "symbol", pa.array(["A", None, "A"]))
    pq.write_table(table, tmp_path / "2013-11-27.parquet", write_statistics=statistics)
    assert read(tmp_path) == [("A", 1, 10.0), ("A", 3, 10.0)]


UNUSABLE = {
    "no symbol in any row": ({"symbol": pa.array([None, None], pa.string())}, ": no row has a symbol"),
    "symbols that are numbers": (
        {"symbol": pa.array([5930, 5930])},
        ": symbol is int64, not text; have it read by: mm import csv",
    ),
    "times as text": (
        {"ts": pa.array(["2013-11-27T12:00:00Z"] * 2)},
        ": ts is neither nanoseconds since 1970 nor a timestamp: .*; have it read by: mm import csv",
    ),
    "a row without a time": ({"ts": pa.array([NOON, None])}, " has rows without ts"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_file_that_cannot_be_used_is_named_in_a_line(tmp_path: Path, name: str) -> None:
    columns, why = UNUSABLE[name]
    path = written(tmp_path / "quotes.parquet", table_of([row("A", 1), row("A", 2)]), **columns)
    with pytest.raises(BadConfiguration, match=f"{re.escape(str(path))}{why}"):
        find_files([str(path)])
