"""What an exchange sent and Kafka has not got yet, each quote with the time at which it came."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from agents.feeds.exchanges.exchange import Tick
from agents.feeds.quotes import FUTURE_NS
from schemas.times import rfc3339

log = logging.getLogger(__name__)

MOST_WAITING = 100_000


class Inbox:
    """Between the thread that receives and the one that sends.

    Times are this machine's clock, each larger than the one before, also when the clock is set back; `after` (ns)
    is smaller than all of them. What agents make of a clock that is set back too far is told.
    """

    def __init__(self, after: int, clock: Callable[[], int] = time.time_ns) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._last = after
        self._behind = False
        self._waiting: list[tuple[int, Tick]] = []

    @property
    def full(self) -> bool:
        """Whether whoever receives should wait: Kafka does not take as much as comes."""
        return len(self._waiting) >= MOST_WAITING

    def put(self, tick: Tick) -> None:
        """Take a quote that has just come."""
        with self._lock:
            self._waiting.append((self._now(), tick))

    def take(self) -> tuple[list[tuple[int, Tick]], int]:
        """All that waits, as (ts, quote), and a time: nothing from before it will come any more."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            return waiting, self._now()

    def _now(self) -> int:
        now = self._clock()
        self._last = max(now, self._last + 1)
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
        return self._last
