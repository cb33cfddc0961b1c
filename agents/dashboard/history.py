"""What the plots show of one symbol: its predictions and its executions of a while, in a few bytes a row."""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Sequence
from itertools import islice
from struct import Struct

from schemas.records import Execution, Pred, Side

_NAN = math.nan
_CHUNK_ROWS = 64


class Columns:
    """Rows of floats, the first of each a time in seconds; rows older than the window leave, in order, some at a time.

    Rows are numbered from the first ever added; `first` and `next` bound those still held. They lie in chunks of one
    size: thousands of arrays that grow are copied again and again, and leave the memory in pieces.
    """

    def __init__(self, width: int, window_seconds: float) -> None:
        self._width = width
        self._window = window_seconds
        row = Struct(f"{width}d")
        self._pack, self._row_bytes, self._chunk_bytes = row.pack_into, row.size, row.size * _CHUNK_ROWS
        self._chunks: deque[array[float]] = deque()
        self._last = array("d")
        self._used = self._chunk_bytes  # of the last chunk
        self.first = 0

    @property
    def next(self) -> int:
        """Number of the row that will be added next."""
        return self.first + len(self._chunks) * _CHUNK_ROWS - self._free

    @property
    def _free(self) -> int:
        """Rows of the last chunk that are still to come."""
        return (self._chunk_bytes - self._used) // self._row_bytes

    def add(self, row: Sequence[float]) -> None:
        """Add one row, not older than the one before."""
        used = self._used
        if used == self._chunk_bytes:
            self._trim(row[0] - self._window)
            self._last, used = array("d", bytes(used)), 0
            self._chunks.append(self._last)
        self._pack(self._last, used, *row)
        self._used = used + self._row_bytes

    def since(self, number: int) -> list[list[float]]:
        """The columns of the rows from a number on."""
        skipped, start = divmod(max(0, number - self.first), _CHUNK_ROWS)
        values = array("d")
        for chunk in islice(self._chunks, skipped, None):
            values += chunk
        rows = values[start * self._width : len(values) - self._free * self._width]
        return [rows[i :: self._width].tolist() for i in range(self._width)]

    def _trim(self, oldest: float) -> None:
        """Drop the chunks whose rows are all older."""
        while self._chunks and self._chunks[0][-self._width] < oldest:
            self._chunks.popleft()
            self.first += _CHUNK_ROWS


class History:
    """One symbol's rows. predictions: time, bid, ask, ema, buy_below, sell_above; executions: time, position after,
    shares filled (negative: sold, 0: none), price.
    """

    PREDICTIONS, EXECUTIONS = 6, 4

    def __init__(self, window_seconds: float) -> None:
        self.predictions = Columns(self.PREDICTIONS, window_seconds)
        self.executions = Columns(self.EXECUTIONS, window_seconds)


def prediction_row(pred: Pred) -> tuple[float, ...]:
    """A row of `History.predictions`."""
    low, high = pred.buy_below, pred.sell_above
    return (
        pred.ts / 1e9,
        pred.bid,
        pred.ask,
        pred.ema,
        _NAN if low is None else low,
        _NAN if high is None else high,
    )


def execution_row(execution: Execution) -> tuple[float, ...]:
    """A row of `History.executions`."""
    filled = execution.shares if execution.side is Side.BUY else -execution.shares
    price = execution.price if execution.shares and execution.price is not None else _NAN
    return execution.ts / 1e9, execution.position_after, filled, price


def thinned(columns: list[list[float]], most: int, keep_last: int) -> list[list[float]]:
    """At most about `most` rows: the last `keep_last` whole, of those before every n-th."""
    rows = len(columns[0])
    older = rows - keep_last
    if rows <= most or older <= 0:
        return columns
    step = -(-older // max(1, most - keep_last))
    return [column[:older:step] + column[older:] for column in columns]
