"""When the next connection may be tried: after a delay that grows, and never too often."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

_LEAST_SHARE = 0.5


@dataclass(frozen=True)
class Backoff:
    """Seconds before another try: `first`, twice as many after each failure, at most `longest`; see `seconds`."""

    first: float = 0.5
    longest: float = 30.0

    def seconds(self, failures: int) -> float:
        """After so many failures in a row (from 1 on): half of it to all of it, by chance, so that many spread."""
        whole = min(self.longest, self.first * 2.0 ** min(failures - 1, 32))
        return whole * random.uniform(_LEAST_SHARE, 1.0)


class Attempts:
    """How long to wait so that no more than `most` attempts fall into any `window` seconds."""

    def __init__(self, most: int, window: float) -> None:
        self._most = most
        self._window = window
        self._times: deque[float] = deque(maxlen=most)

    def note(self, now: float) -> None:
        """There is an attempt at now (s, any clock that only rises)."""
        self._times.append(now)

    def wait(self, now: float) -> float:
        """Seconds until another attempt is within the limit."""
        if len(self._times) < self._most:
            return 0.0
        return max(0.0, self._times[0] + self._window - now)
