"""Reading quotes from files: CSV, CSV.gz and Parquet, as streams of column chunks merged by ts.

Columns: ts or ts_ns (nanoseconds since the epoch; a Parquet timestamp will do), symbol, bid, bid_size, ask,
ask_size; others are ignored. An empty or missing price is NaN: whether a quote can be used is the agents' to say.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from agents.feeds.merging import merge
from agents.feeds.quotes import TS_NAMES, Quotes, sorted_quotes
from agents.stream.errors import BadConfiguration
from schemas.times import EARLIEST_TS

_PRICES = ("bid", "bid_size", "ask", "ask_size")
_WANTED_TS = "must be in nanoseconds since 1970; mm import csv reads times of other units, and as text"
_TYPES = {"symbol": pa.string(), **dict.fromkeys(_PRICES, pa.float64())}
_BLOCK_BYTES = 1 << 19
_PARQUET_ROWS = 16_384
_HEADER_BYTES = 1 << 16


def read_quotes(paths: Sequence[Path]) -> Iterator[Quotes]:
    """The rows of all files, merged by ts; ties keep the order of the files, then of the rows.

    Memory is bounded by a chunk a file. Raises BadConfiguration naming the file and what is wrong with it.
    """
    return iter(QuoteFiles(paths))


class QuoteFiles:
    """Files opened and checked, to be read once. Raises BadConfiguration, before the first row where it can."""

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise BadConfiguration("no files of quotes were given")
        self._files = [_open(path) for path in paths]
        self._sizes = [max(1, path.stat().st_size) for path in paths]
        self._symbols: list[str] = []
        self._numbers: dict[str, int] = {}

    def __iter__(self) -> Iterator[Quotes]:
        return merge([self._chunks(file) for file in self._files])

    @property
    def fraction(self) -> float:
        """About how much of the files has been read, 0 to 1, weighted by their bytes."""
        read = sum(file.fraction() * size for file, size in zip(self._files, self._sizes, strict=True))
        return read / sum(self._sizes)

    def _chunks(self, file: _File) -> Iterator[Quotes]:
        rows, last_ts = 0, np.iinfo(np.int64).min
        for batch in _reading(file):
            if not len(batch):
                continue
            ts = _ts(file, batch, rows)
            if not rows and ts[0] < EARLIEST_TS:
                raise BadConfiguration(f"{file.path}: {file.place(0)} is of {ts[0]}; {file.ts_name} {_WANTED_TS}")
            back = np.flatnonzero(ts < np.append(last_ts, ts[:-1]))
            if len(back):
                raise BadConfiguration(
                    f"{file.path}: {file.place(rows + int(back[0]))} is earlier than the row before it; "
                    f"sort the file by {file.ts_name}"
                )
            prices = [_floats(batch.column(name)) for name in _PRICES]
            yield sorted_quotes(self._symbols, self._number(batch.column("symbol")), ts, prices)
            rows, last_ts = rows + len(batch), ts[-1]

    def _number(self, symbols: pa.Array) -> np.ndarray:
        coded = symbols.fill_null("").dictionary_encode()
        numbers = self._numbers
        for symbol in coded.dictionary.to_pylist():
            if symbol not in numbers:
                numbers[symbol] = len(self._symbols)
                self._symbols.append(symbol)
        known = np.array([numbers[symbol] for symbol in coded.dictionary.to_pylist()], np.int32)
        return known[coded.indices.to_numpy()]


class _File(Protocol):
    path: Path
    ts_name: str

    def batches(self) -> Iterator[pa.RecordBatch]: ...

    def fraction(self) -> float: ...

    def place(self, row: int) -> str: ...


def _open(path: Path) -> _File:
    try:
        if path.name.endswith(".parquet"):
            return _Parquet(path)
        if path.name.endswith((".csv", ".csv.gz")):
            return _Csv(path)
    except FileNotFoundError:
        raise BadConfiguration(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise BadConfiguration(f"{path}: cannot be read: {error}") from error
    raise BadConfiguration(f"{path}: quotes are read from .csv, .csv.gz and .parquet files")


def _reading(file: _File) -> Iterator[pa.RecordBatch]:
    try:
        yield from file.batches()
    except (OSError, ValueError) as error:
        # the one column of whole numbers is the time
        hint = f"; {file.ts_name} {_WANTED_TS}" if "int64" in str(error) else ""
        raise BadConfiguration(f"{file.path}: cannot be read: {error}{hint}") from error


def _ts_name(path: Path, names: Sequence[str]) -> str:
    """Which of the columns is the ts. Raises BadConfiguration when any column is missing."""
    ts_name = next((name for name in TS_NAMES if name in names), None)
    missing = [name for name in _TYPES if name not in names]
    if ts_name is None:
        missing.insert(0, " or ".join(TS_NAMES))
    if missing or ts_name is None:
        raise BadConfiguration(f"{path}: missing column {', '.join(missing)}; it has: {', '.join(names)}")
    return ts_name


class _Csv:
    """A CSV file with a header line, plain or gzipped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._raw = pa.OSFile(str(path))
        self._fraction = 0.0
        with pa.OSFile(str(path)) as raw, self._plain(raw) as head:
            # the header ends with the first line; nobody has one longer than this
            first = head.read(_HEADER_BYTES).decode("utf-8-sig", errors="replace")
        if not first:
            raise BadConfiguration(f"{path}: the file is empty; its first line must name the columns")
        self._rows_about = max(1.0, self._plain_bytes() * first.count("\n") / len(first))
        self.ts_name = _ts_name(path, next(csv.reader(io.StringIO(first)), []))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, a block at a time."""
        types = {self.ts_name: pa.int64(), **_TYPES}
        convert = pyarrow.csv.ConvertOptions(column_types=types, include_columns=list(types))
        # without threads: faster for one file (measured), and errors know their row
        read = pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)
        rows = 0
        for batch in pyarrow.csv.open_csv(self._plain(self._raw), read_options=read, convert_options=convert):
            rows += len(batch)
            self._fraction = min(1.0, rows / self._rows_about)
            yield batch
        self._fraction = 1.0

    def fraction(self) -> float:
        """About how much of the file has been read, judged by its size and its first lines."""
        return self._fraction

    def _plain_bytes(self) -> int:
        """Size of the text; of a gzipped one as its last four bytes tell, which is all there is to go by."""
        size: int = self._raw.size()
        if not self.path.name.endswith(".gz"):
            return size
        plain = int.from_bytes(self._raw.read_at(4, max(0, size - 4)), "little")
        self._raw.seek(0)
        return max(size, plain)

    def place(self, row: int) -> str:
        """Where a row (from 0) stands, for a message."""
        return f"row {row + 1} (line {row + 2})"

    def _plain(self, raw: Any) -> Any:
        return pa.CompressedInputStream(raw, "gzip") if self.path.name.endswith(".gz") else raw


class _Parquet:
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = pyarrow.parquet.ParquetFile(path)
        self._rows = max(1, self._file.metadata.num_rows)
        self._read = 0
        self.ts_name = _ts_name(path, self._file.schema_arrow.names)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, a batch at a time."""
        columns = [self.ts_name, *_TYPES]
        for batch in self._file.iter_batches(_PARQUET_ROWS, columns=columns):
            self._read += len(batch)
            arrays = [_ns(batch.column(self.ts_name)), *(batch.column(name).cast(_TYPES[name]) for name in _TYPES)]
            yield pa.record_batch(arrays, names=columns)

    def fraction(self) -> float:
        """How much of the file has been read."""
        return self._read / self._rows

    def place(self, row: int) -> str:
        """Where a row (from 0) stands, for a message."""
        return f"row {row + 1}"


def _ns(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64())
    return column.cast(pa.int64())


def _ts(file: _File, batch: pa.RecordBatch, rows: int) -> np.ndarray:
    column = batch.column(file.ts_name)
    if column.null_count:
        row = rows + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise BadConfiguration(f"{file.path}: {file.place(row)} has no {file.ts_name}")
    ts: np.ndarray = column.to_numpy()
    return ts


def _floats(column: pa.Array) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
