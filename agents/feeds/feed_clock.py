"""The times that a feed gives its quotes where it stamps them as they come."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from agents.feeds.quotes import FUTURE_NS
from schemas.times import rfc3339

log = logging.getLogger(__name__)


class FeedClock:
    """The clock of this machine, but each time (ns) larger than the one before, also when the clock is set back.

    after: smaller than all times. What agents make of a clock that is set back too far is told.
    """

    def __init__(self, after: int, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._last = after
        self._behind = False

    def stamp(self, rows: int = 1) -> int:
        """The time of the first of so many rows, each of which is a nanosecond after the one before."""
        now = self._clock()
        first = max(now, self._last + 1)
        self._last = first + rows - 1
        if (self._last - now > FUTURE_NS) != self._behind:
            self._behind = not self._behind
            if self._behind:
                log.warning(
                    "this machine's clock says %s, but quotes were sent up to %s: agents use no new ones until it has "
                    "caught up; set the clock right",
                    *(rfc3339(now), rfc3339(self._last)),
                )
            else:
                log.info("this machine's clock has caught up with what was sent")
        return first
