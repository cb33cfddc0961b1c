"""Parquet files of one part as columns for the kernels, without a copy where that is possible."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agents.backtest.arrow import numbers as numbers_of
from agents.backtest.catalog import QuoteFile, ns_of
from agents.feeds.merging import merge
from agents.feeds.quotes import Quotes, sorted_quotes
from agents.stream.errors import BadConfiguration
from schemas.columns import NO_LIMIT, QUOTE, SKIP, Columns

_PRICES = ("bid", "bid_size", "ask", "ask_size")
_ROWS = 1 << 17
_MERGED_ROWS = 1 << 14
"""Of each file at a time, where many are merged at once."""
_ABSENT = -1


def read_part(files: Sequence[QuoteFile], numbers: Mapping[str, int]) -> Iterator[Columns]:
    """The rows of files, each symbol's in the order of their ts; symbols without a number are skipped.

    Rows of different symbols come in any order: no symbol's result depends on another's. Where files of the same
    symbol overlap they are merged by ts, ties in the order of the files. Raises BadConfiguration for a file that
    cannot be used.
    """
    alone, overlapping = _divide(files)
    for file in sorted(alone, key=lambda file: file.first_ts):
        yield from _read(file, numbers, _ROWS)
    if overlapping:
        yield from _merge(overlapping, numbers)


def _divide(files: Sequence[QuoteFile]) -> tuple[list[QuoteFile], list[QuoteFile]]:
    by_symbol: dict[str, list[QuoteFile]] = {}
    for file in files:
        for symbol in file.symbols:
            by_symbol.setdefault(symbol, []).append(file)
    overlapping: set[str] = set()
    for of_symbol in by_symbol.values():
        in_order = sorted(of_symbol, key=lambda file: file.first_ts)
        for before, after in itertools.pairwise(in_order):
            if after.first_ts <= before.last_ts:
                overlapping |= {before.path, after.path}
    grown = True
    while grown:  # a file that shares a symbol with one of them has to be merged with it, too
        tied = {symbol for file in files if file.path in overlapping for symbol in file.symbols}
        more = {file.path for file in files if tied & set(file.symbols)} - overlapping if overlapping else set()
        overlapping |= more
        grown = bool(more)
    return (
        [file for file in files if file.path not in overlapping],
        [file for file in files if file.path in overlapping],
    )


def _read(file: QuoteFile, numbers: Mapping[str, int], rows: int) -> Iterator[Columns]:
    try:
        symbol = ["symbol"] if file.mixed else []
        parquet = pq.ParquetFile(file.path, memory_map=True, read_dictionary=symbol)
        wanted = [file.ts_name, *_PRICES, *symbol]
        last_ts = np.iinfo(np.int64).min
        for batch in parquet.iter_batches(rows, columns=wanted, use_threads=False):
            columns = _columns(batch, file, numbers)
            ts = columns.ts
            if ts[0] < last_ts or (ts[1:] < ts[:-1]).any():
                raise BadConfiguration(f"{file.path} is not sorted by {file.ts_name}; sort it with: mm import csv")
            last_ts = ts[-1]
            yield columns
    except (OSError, pa.ArrowException) as error:
        raise BadConfiguration(f"{file.path}: cannot be read: {error}") from error


def _columns(batch: pa.RecordBatch, file: QuoteFile, numbers: Mapping[str, int]) -> Columns:
    ts = batch.column(file.ts_name)
    if ts.null_count:
        raise BadConfiguration(f"{file.path} has rows without {file.ts_name}")
    rows = len(batch)
    columns = Columns(0)
    columns.length = rows
    columns.ts = _writable(numbers_of(ns_of(ts)))
    columns.latest_ts = np.broadcast_to(NO_LIMIT, 1).repeat(rows)
    for name in _PRICES:
        setattr(columns, name, _writable(numbers_of(batch.column(name).cast(pa.float64()))))
    if not file.mixed:
        columns.number = np.full(rows, numbers[file.symbols[0]], np.int32)
        columns.kind = np.full(rows, QUOTE, np.uint8)
    else:
        coded = batch.column("symbol")
        if not pa.types.is_dictionary(coded.type):
            coded = coded.dictionary_encode()
        known = [numbers.get(symbol, _ABSENT) for symbol in coded.dictionary.to_pylist()]
        places = numbers_of(coded.indices, null=len(known))
        _place(columns, np.array([*known, _ABSENT], np.int32)[places])
    return columns


def _place(columns: Columns, number: np.ndarray) -> None:
    columns.kind = np.where(number == _ABSENT, SKIP, QUOTE).astype(np.uint8)
    columns.number = number


class _Unlocked:
    """Arrow's memory as numpy would describe memory that may be written."""

    def __init__(self, values: np.ndarray) -> None:
        interface = dict(values.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface
        self._owner = values


def _writable(values: np.ndarray) -> np.ndarray:
    """The same memory, not marked as read-only: numba would compile every kernel once more for such arrays.

    The kernels only read their columns.
    """
    return values if values.flags.writeable else np.asarray(_Unlocked(values))


def _merge(files: Sequence[QuoteFile], numbers: Mapping[str, int]) -> Iterator[Columns]:
    for quotes in merge([_quotes(file, numbers) for file in files]):
        columns = Columns(0)
        columns.length = len(quotes)
        columns.ts = quotes.ts
        columns.latest_ts = np.full(len(quotes), NO_LIMIT)
        for name in _PRICES:
            setattr(columns, name, getattr(quotes, name))
        _place(columns, quotes.number)
        yield columns


def _quotes(file: QuoteFile, numbers: Mapping[str, int]) -> Iterator[Quotes]:
    symbols = list(numbers)
    for columns in _read(file, numbers, _MERGED_ROWS):
        yield sorted_quotes(symbols, columns.number, columns.ts, [getattr(columns, name) for name in _PRICES])
