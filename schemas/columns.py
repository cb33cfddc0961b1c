"""Quotes as columns: what the decoders fill and the kernels read."""

from __future__ import annotations

import numpy as np

SKIP, QUOTE, CLOCK, END_CLOCK = 0, 1, 2, 3
"""Kinds of rows. A skipped row could not be used; it was counted or dead-lettered when it was decoded."""

NO_LIMIT = np.iinfo(np.int64).max


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
