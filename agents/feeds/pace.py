"""How fast something that is counted goes on."""

from __future__ import annotations

import time
from collections import deque

_SECONDS = 5.0


class RecentRate:
    """Counts a second of wall time, over the last seconds: an average since the start would remember a fast beginning
    for hours.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def at(self, count: int) -> float:
        """The rate, now that the count is so high."""
        now = time.monotonic()
        self._seen.append((now, count))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _SECONDS:
            self._seen.popleft()
        began, before = self._seen[0]
        return (count - before) / (now - began) if now > began else 0.0
