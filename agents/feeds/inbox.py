"""What an exchange sent and Kafka has not got yet, each quote with the time at which it came."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from agents.feeds.exchanges.exchange import Tick
from agents.feeds.feed_clock import FeedClock

MOST_WAITING = 100_000


class Inbox:
    """Between the thread that receives and the one that sends.

    Times are a `FeedClock`'s; `after` (ns) is smaller than all of them.
    """

    def __init__(self, after: int, clock: Callable[[], int] = time.time_ns) -> None:
        self._lock = threading.Lock()
        self._clock = FeedClock(after, clock)
        self._waiting: list[tuple[int, Tick]] = []

    @property
    def full(self) -> bool:
        """Whether whoever receives should wait: Kafka does not take as much as comes."""
        return len(self._waiting) >= MOST_WAITING

    def put(self, tick: Tick) -> None:
        """Take a quote that has just come."""
        with self._lock:
            self._waiting.append((self._clock.stamp(), tick))

    def take(self) -> tuple[list[tuple[int, Tick]], int]:
        """All that waits, as (ts, quote), and a time: nothing from before it will come any more."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            return waiting, self._clock.stamp()
