"""Records of ``quotes`` to columns: the compiled parser for plain JSON, validation for the rest, Arrow frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec
import numpy as np

from schemas import frame_reader, frames, json_quotes
from schemas.columns import CLOCK, END_CLOCK, QUOTE, SKIP, Columns, latest_plausible
from schemas.records import Clock, Quote
from schemas.symbols import UNKNOWN, SymbolIndex

_quote = msgspec.json.Decoder(Quote)
_clock = msgspec.json.Decoder(Clock)
_INT64 = range(-(1 << 63), 1 << 63)
_LEAST_BYTES_A_ROW = 44  # a dictionary index and five numbers of eight bytes
_MOST_SYMBOLS_A_FRAME = 4096
MAX_FEEDS = 1024
"""Bound on feeds, as every checkpoint carries them all."""


class RawRecords(Protocol):
    """Records as a batch holds them: where their values lie, and each value as bytes on request."""

    addresses: np.ndarray  # int64[n]
    lengths: np.ndarray  # int64[n], 0 for a null value
    timestamps: np.ndarray  # int64[n], Kafka's, in ms; -1 where there is none

    def value(self, record: int) -> bytes | None:
        """The bytes of one record's value."""
        ...


class Reject(NamedTuple):
    """A record that could not be used, whole or in part, and how many rows of it were lost."""

    record: int
    reason: str
    rows: int


class QuoteDecoder:
    """Decodes the records of one partition.

    accepts: whether a symbol belongs to the partition; asked once for each symbol.
    future_ns: how far a ts may lie beyond its record's Kafka timestamp.
    `columns` holds the rows of the latest `decode`; `index` numbers the symbols, `feeds` the feeds of the clocks.
    """

    def __init__(self, accepts: Callable[[str], bool], future_ns: int) -> None:
        self.index = SymbolIndex()
        self.feeds: list[str] = []
        self.columns = Columns()
        self._frame_schema: np.ndarray | None = None
        self._dictionary = np.zeros(_MOST_SYMBOLS_A_FRAME, np.int32)
        self._accepts = accepts
        self._future_ns = future_ns
        self._rejects: list[Reject] = []

    def decode(self, records: RawRecords) -> list[Reject]:
        """Fill `columns` with the rows of the records, in order; return what could not be used."""
        self._rejects = []
        columns = self.columns
        columns.clear()
        n = len(records.addresses)
        hard = np.empty(n, np.int64)
        at = 0
        while at < n:
            columns.reserve(n - at)
            first_row, index = columns.length, self.index
            stop, why, n_hard = json_quotes.parse(
                records.addresses,
                records.lengths,
                records.timestamps,
                self._future_ns,
                at,
                index.slots,
                index.names,
                columns.kind,
                columns.number,
                columns.ts,
                columns.latest_ts,
                columns.bid,
                columns.bid_size,
                columns.ask,
                columns.ask_size,
                first_row,
                hard,
            )
            columns.length = first_row + stop - at
            for record in hard[:n_hard].tolist():
                self._validate(record, records.value(record), first_row + record - at)
            at = stop
            if why == json_quotes.FRAME:
                at = self._frames(records, at)
            elif why == json_quotes.NEW_SYMBOL:
                columns.length += 1  # the parser has made its row, without a number
                self._validate(at, records.value(at), columns.length - 1)
                at += 1
        return self._rejects

    def feed_number(self, feed: str) -> int:
        """Number of a feed, a new one if it has none yet."""
        if feed not in self.feeds:
            if len(self.feeds) == MAX_FEEDS:
                raise ValueError(f"more than {MAX_FEEDS} feeds")
            self.feeds.append(feed)
        return self.feeds.index(feed)

    def _validate(self, record: int, value: bytes | None, row: int) -> None:
        """Read one record by the book into its row."""
        columns = self.columns
        columns.kind[row] = SKIP
        if not value:
            self._reject(record, "empty value")
            return
        try:
            quote = _quote.decode(value)
        except msgspec.DecodeError as error:
            self._clock(record, value, row, error)
            return
        except (UnicodeDecodeError, RecursionError) as error:
            self._reject(record, f"malformed: {error}")
            return
        number = self._number(quote.symbol)
        if number == UNKNOWN:
            self._reject(record, self._misplaced(quote.symbol))
            return
        columns.number[row] = number
        # Any ts beyond 64 bits is as implausible as zero, and skipped by the same rule.
        columns.ts[row] = quote.ts if quote.ts in _INT64 else 0
        columns.bid[row], columns.bid_size[row] = quote.bid, quote.bid_size
        columns.ask[row], columns.ask_size[row] = quote.ask, quote.ask_size
        columns.kind[row] = QUOTE

    def _clock(self, record: int, value: bytes, row: int, not_a_quote: Exception) -> None:
        try:
            clock = _clock.decode(value)
            self.columns.number[row] = self.feed_number(clock.feed)
        except (ValueError, RecursionError) as error:
            reason = error if b'"clock"' in value else not_a_quote
            self._reject(record, f"malformed: {reason}")
            return
        self.columns.ts[row] = clock.clock if clock.clock in _INT64 else 0
        self.columns.kind[row] = END_CLOCK if clock.end else CLOCK

    def _frames(self, records: RawRecords, at: int) -> int:
        """Read the frames from a record on, the first of them at least; the record behind them."""
        columns, index = self.columns, self.index
        if self._frame_schema is not None:
            columns.reserve(int(records.lengths[at:].sum()) // _LEAST_BYTES_A_ROW)
            stop, columns.length = frame_reader.read_frames(
                records.addresses,
                records.lengths,
                at,
                self._frame_schema,
                index.slots,
                index.names,
                records.timestamps,
                self._future_ns,
                columns.kind,
                columns.number,
                columns.ts,
                columns.latest_ts,
                columns.bid,
                columns.bid_size,
                columns.ask,
                columns.ask_size,
                columns.length,
                self._dictionary,
            )
            if stop > at:
                return stop
        self._frame(at, records.value(at) or b"", latest_plausible(int(records.timestamps[at]), self._future_ns))
        return at + 1

    def _frame(self, record: int, value: bytes, latest_ts: int) -> None:
        try:
            batches = frames.decode_frame(value)
        except frames.FrameError as error:
            self._reject(record, f"malformed: {error}")
            return
        if self._frame_schema is None and (schema := frames.plain_schema(value)) is not None:
            self._frame_schema = np.frombuffer(schema, np.uint8)
        misplaced: list[str] = []
        lost = 0
        for symbols, places, ts, prices in batches:
            numbers = np.array([self._number(symbol) for symbol in symbols], np.int32)
            misplaced += [symbol for symbol, number in zip(symbols, numbers, strict=True) if number == UNKNOWN]
            columns, rows = self.columns, len(ts)
            columns.reserve(rows)
            new = slice(columns.length, columns.length + rows)
            columns.length += rows
            taken = numbers[places]
            columns.kind[new] = np.where(taken == UNKNOWN, SKIP, QUOTE)
            columns.number[new] = taken
            columns.ts[new] = ts
            columns.latest_ts[new] = latest_ts
            columns.bid[new], columns.bid_size[new], columns.ask[new], columns.ask_size[new] = prices
            lost += int(np.count_nonzero(taken == UNKNOWN))
        if lost:
            self._reject(record, self._misplaced(misplaced[0]), lost)

    def _number(self, symbol: str) -> int:
        number = self.index.get(symbol)
        if number == UNKNOWN and _is_symbol(symbol) and self._accepts(symbol):
            number = self.index.add(symbol)
        return number

    def _misplaced(self, symbol: str) -> str:
        if not _is_symbol(symbol):
            return f"malformed: symbol {symbol[:40]!r} is not 1 to 32 printable ASCII characters"
        return f"wrong partition for symbol {symbol}: key records by symbol with the partitioner murmur2_random"

    def _reject(self, record: int, reason: str, rows: int = 1) -> None:
        self._rejects.append(Reject(record, reason, rows))


def _is_symbol(symbol: str) -> bool:
    return 1 <= len(symbol) <= 32 and all("!" <= character <= "~" for character in symbol)
