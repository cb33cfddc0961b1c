"""Files are read in every format, and errors name the file, the row and what to do."""

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agents.feeds.files import QuoteFiles, read_quotes
from agents.stream.errors import BadConfiguration
from tests.feeds.rows import HEADER, T0, Row, row, rows_of, write_csv

ROWS = [row(i % 3, T0 + i // 2, 10 + i / 7) for i in range(500)]


def read(*paths: Path) -> list[Row]:
    return [each for chunk in read_quotes(paths) for each in rows_of(chunk)]


def write_parquet(path: Path, ts: pa.Array, ts_name: str = "ts") -> Path:
    columns = {"symbol": [r.symbol for r in ROWS], ts_name: ts}
    columns |= {name: [getattr(r, name) for r in ROWS] for name in ("ask_size", "ask", "bid", "bid_size")}
    pq.write_table(pa.table(columns), path, row_group_size=100)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("ts_name", ["ts", "ts_ns"])
def test_csv(tmp_path: Path, name: str, ts_name: str) -> None:
    assert read(write_csv(tmp_path / name, ROWS, HEADER.replace("ts_ns", ts_name))) == ROWS


@pytest.mark.parametrize(
    "column", [pa.int64(), pa.timestamp("ns"), pa.timestamp("ns", "UTC")], ids=["int64", "timestamp", "utc"]
)
def test_parquet(tmp_path: Path, column: pa.DataType) -> None:
    assert read(write_parquet(tmp_path / "a.parquet", pa.array([r.ts for r in ROWS], column))) == ROWS


def test_columns_in_any_order_and_others_ignored(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"venue,ask_size,ask,bid_size,bid,symbol,ts\nX,1,2,3,4,A,{T0}\n")
    assert read(path) == [Row("A", T0, 4.0, 3.0, 2.0, 1.0)]


def test_bad_values_come_through_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{HEADER}\n{T0},A,0,-1,,nan\n")
    found = read(path)[0]
    assert (found.bid, found.bid_size) == (0.0, -1.0)
    assert np.isnan(found.ask) and np.isnan(found.ask_size)


def test_files_of_different_formats_are_merged(tmp_path: Path) -> None:
    first = write_csv(tmp_path / "a.csv.gz", ROWS)
    second = write_parquet(tmp_path / "b.parquet", pa.array([r.ts for r in ROWS]))
    assert read(first, second) == sorted(ROWS + ROWS, key=lambda each: each.ts)


def test_a_file_of_many_blocks_is_read_in_parts(tmp_path: Path) -> None:
    many = [row(0, T0 + i) for i in range(60_000)]
    files = QuoteFiles([write_csv(tmp_path / "a.csv", many)])
    chunks = list(files)
    assert len(chunks) > 1
    assert [each for chunk in chunks for each in rows_of(chunk)] == many
    assert files.fraction == 1.0


def test_a_file_without_rows_has_none(tmp_path: Path) -> None:
    assert read(write_csv(tmp_path / "a.csv", [])) == []


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


GOOD = f"{T0},A,1,1,1,1\n"
FAULTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no such file": (lambda folder: folder / "gone.csv", r"gone\.csv: no such file"),
    "a folder": (lambda folder: folder, "quotes are read from .csv, .csv.gz and .parquet files"),
    "unknown kind": (lambda folder: text(folder / "a.json", "{}"), r"a\.json: quotes are read from"),
    "empty": (lambda folder: text(folder / "a.csv", ""), r"a\.csv: the file is empty"),
    "missing column": (
        lambda folder: text(folder / "a.csv", "ts,symbol,bid,ask,ask_size\n"),
        r"a\.csv: missing column bid_size; it has: ts, symbol",
    ),
    "missing ts": (
        lambda folder: text(folder / "a.csv", "symbol,bid,bid_size,ask,ask_size\n"),
        "missing column ts or ts_ns",
    ),
    "no number": (
        lambda folder: text(folder / "a.csv", f"{HEADER}\n{GOOD}{T0},A,x,1,1,1\n"),
        r"a\.csv: .*Row #3.*'x'",
    ),
    "too few columns": (
        lambda folder: text(folder / "a.csv", f"{HEADER}\n{GOOD}{T0},A,1\n"),
        r"a\.csv: .*Row #3: Expected 6 columns, got 3",
    ),
    "no ts": (lambda folder: text(folder / "a.csv", f"{HEADER}\n{GOOD},A,1,1,1,1\n"), r"row 2 \(line 3\) has no ts_ns"),
    "not sorted": (
        lambda folder: text(folder / "a.csv", f"{HEADER}\n{GOOD}{T0 - 1},A,1,1,1,1\n"),
        r"row 2 \(line 3\) is earlier than the row before it; sort the file by ts_ns",
    ),
    "times as text": (
        lambda folder: text(folder / "a.csv", f"{HEADER}\n2024-11-01T10:00:00Z,A,1,1,1,1\n"),
        r"a\.csv: .*'2024-11-01T10:00:00Z'; ts_ns must be in nanoseconds since 1970",
    ),
    "times in seconds": (
        lambda folder: text(folder / "a.csv", f"{HEADER}\n1700000000,A,1,1,1,1\n"),
        r"a\.csv: row 1 \(line 2\) is of 1700000000; ts_ns must be in nanoseconds since 1970",
    ),
    "no gzip": (lambda folder: text(folder / "a.csv.gz", HEADER), r"a\.csv\.gz: cannot be read"),
    "no parquet": (lambda folder: text(folder / "a.parquet", HEADER), r"a\.parquet: cannot be read"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_errors_name_the_file_and_what_is_wrong(tmp_path: Path, fault: str) -> None:
    make, message = FAULTS[fault]
    with pytest.raises(BadConfiguration, match=message):
        read(make(tmp_path))


def test_a_file_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv.gz", ROWS)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadConfiguration, match=r"a\.csv\.gz: cannot be read"):
        read(path)


def test_a_file_that_goes_back_between_blocks_is_an_error(tmp_path: Path) -> None:
    rows = [row(0, T0 + i) for i in range(60_000)]
    rows[50_000] = row(0, T0)
    with pytest.raises(BadConfiguration, match=r"row 50001 \(line 50002\)"):
        read(write_csv(tmp_path / "a.csv", rows))


def test_no_files_is_an_error() -> None:
    with pytest.raises(BadConfiguration, match="no files"):
        read()


def test_a_gzipped_file_of_windows_reads_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(f"\ufeff{HEADER}\r\n{GOOD.strip()}\r\n".encode()))
    assert read(path) == [Row("A", T0, 1.0, 1.0, 1.0, 1.0)]


def test_reading_and_generating_need_no_kafka() -> None:
    code = (
        "import sys, agents.feeds.files, agents.feeds.generator; "
        "assert not any('kafka' in name for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
