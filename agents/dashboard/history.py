"""What the plots show of one symbol: its predictions and its executions of a while, in a few bytes a row."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

from schemas.records import Execution, Pred, Side

_NAN = math.nan
_TRIM_EVERY = 256


class Columns:
    """Rows of floats, the first of each a time in seconds; rows older than the window leave, in order.

    Rows are numbered from the first ever added; `first` and `next` bound those still held.
    """

    def __init__(self, width: int, window_seconds: float) -> None:
        self._width = width
        self._window = window_seconds
        self._values = array("d")
        self.first = 0

    @property
    def next(self) -> int:
        """Number of the row that will be added next."""
        return self.first + len(self._values) // self._width

    def add(self, row: Sequence[float]) -> None:
        """Add one row, not older than the one before."""
        self._values.extend(row)
        if len(self._values) % (_TRIM_EVERY * self._width) == 0:
            self._trim(row[0] - self._window)

    def since(self, number: int) -> list[list[float]]:
        """The columns of the rows from a number on."""
        start = max(0, number - self.first) * self._width
        return [self._values[start + i :: self._width].tolist() for i in range(self._width)]

    def _trim(self, oldest: float) -> None:
        width, values = self._width, self._values
        low, high = 0, len(values) // width
        while low < high:
            middle = (low + high) // 2
            if values[middle * width] < oldest:
                low = middle + 1
            else:
                high = middle
        del values[: low * width]
        self.first += low


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
