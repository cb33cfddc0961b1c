"""Quotes as columns: what the decoders fill and the kernels read."""

from __future__ import annotations

import numba as nb
import numpy as np

SKIP, QUOTE, CLOCK, END_CLOCK = 0, 1, 2, 3
"""Kinds of rows. A skipped row could not be used; it was counted or dead-lettered when it was decoded."""

NO_LIMIT = np.iinfo(np.int64).max
_NS_PER_MS = 1_000_000


@nb.njit(cache=True, nogil=True)
def latest_plausible(timestamp_ms: int, future_ns: int) -> int:
    """The largest plausible ts of a record with this Kafka timestamp (ms, below 0: none), which may lead by so much."""
    if timestamp_ms < 0:
        return NO_LIMIT
    return min(timestamp_ms, (NO_LIMIT - future_ns) // _NS_PER_MS) * _NS_PER_MS + future_ns


@nb.njit(cache=True, nogil=True)
def _newest(kind: np.ndarray, ts: np.ndarray, latest_ts: np.ndarray, rows: int) -> int:
    newest = 0
    for row in range(rows):
        if kind[row] != SKIP and ts[row] <= latest_ts[row]:
            newest = max(newest, ts[row])
    return newest


class Columns:
    """Rows of one partition in the order in which they apply.

    kind: uint8 (`QUOTE`, …); number: int32, of the symbol, or of the feed for a clock; ts: int64 ns;
    bid, bid_size, ask, ask_size: float64; latest_ts: int64 ns, the largest plausible ts of the row.
    Only the first `length` rows count.
    """

    FLOATS = ("bid", "bid_size", "ask", "ask_size")

    def __init__(self, capacity: int = 1024) -> None:
        self.length = 0
        self.kind = np.zeros(capacity, np.uint8)
        self.number = np.zeros(capacity, np.int32)
        self.ts = np.zeros(capacity, np.int64)
        self.latest_ts = np.full(capacity, NO_LIMIT)
        self.bid = np.zeros(capacity)
        self.bid_size = np.zeros(capacity)
        self.ask = np.zeros(capacity)
        self.ask_size = np.zeros(capacity)

    def __len__(self) -> int:
        return self.length

    def reserve(self, rows: int) -> None:
        """Make room for that many rows beyond `length`."""
        capacity, wanted = len(self.kind), self.length + rows
        if wanted <= capacity:
            return
        while capacity < wanted:
            capacity *= 2
        for name, old in vars(self).items():
            if isinstance(old, np.ndarray):
                new = np.zeros(capacity, old.dtype)
                new[: self.length] = old[: self.length]
                setattr(self, name, new)

    def newest_ts(self) -> int:
        """The largest plausible ts of all rows, 0 where there is none."""
        return int(_newest(self.kind, self.ts, self.latest_ts, self.length))

    def clear(self) -> None:
        """Forget the rows, keep the memory."""
        self.length = 0

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The columns in the order in which the kernels take them, whole (see `length`)."""
        return (
            self.kind,
            self.number,
            self.ts,
            self.latest_ts,
            self.bid,
            self.bid_size,
            self.ask,
            self.ask_size,
        )
