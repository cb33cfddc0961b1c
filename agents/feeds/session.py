"""What every feed's run has in common: a connection, progress, pace, an orderly end."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agents.feeds.pace import RecentRate
from agents.feeds.publisher import QuotePublisher
from agents.feeds.quotes import Quotes
from agents.feeds.wire import Wire
from agents.stream.config import KafkaConfig
from agents.stream.publish import Publisher
from schemas.topics import QUOTES

TICK_SECONDS = 0.005
_LONGEST_SLEEP_SECONDS = 0.05  # a stop is noticed within it
_PROGRESS_SECONDS = 0.5
_ROWS_AT_A_TIME = 8_192


@dataclass(frozen=True)
class Progress:
    """How far a feed is: quotes sent, quotes/s of late, event time (ns), seconds left (None: not known)."""

    quotes: int
    quotes_per_second: float
    ts: int
    seconds_left: float | None


@dataclass(frozen=True)
class Summary:
    """What a feed sent: quotes, wall seconds, first and largest ts (ns; None without quotes).

    ended: whether the feed closed itself with an end clock; an interrupted replay does not.
    """

    quotes: int
    seconds: float
    first_ts: int | None
    latest_ts: int | None
    ended: bool


OnProgress = Callable[[Progress], None]


@contextlib.contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set while the block runs; in the main thread only."""
    stop = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


class Session:
    """One run of a feed. For a `with` block; what was sent is delivered when `finish` returns.

    stop: asks the run to end; it is polled, never waited on, so that a signal handler may set it.
    Raises NoBroker, MissingTopics, StreamError.
    """

    def __init__(
        self, config: KafkaConfig, feed: str, wire: Wire, progress: OnProgress | None, stop: threading.Event
    ) -> None:
        self.stop = stop
        self.fraction: Callable[[], float] | None = None
        self._progress = progress
        self._records = Publisher(config, QUOTES, stopping=stop.is_set)
        self.publisher = QuotePublisher(self._records, feed, wire)
        self._began = self._reported = time.monotonic()
        self._first_ts: int | None = None
        self._rate = RecentRate()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._records.close()

    def send(self, quotes: Quotes) -> None:
        """Send rows as fast as the broker takes them, until a stop."""
        for begin in range(0, len(quotes), _ROWS_AT_A_TIME):
            if self.stop.is_set():
                return
            rows = quotes.take(slice(begin, begin + _ROWS_AT_A_TIME))
            if self._first_ts is None and len(rows):
                self._first_ts = int(rows.ts[0])
            self.publisher.publish(rows)
            self._report()

    def wait(self, seconds: float) -> None:
        """Sleep for a tick, or towards something due in so many seconds, but never too long to notice a stop."""
        self._report()
        time.sleep(min(max(seconds, TICK_SECONDS), _LONGEST_SLEEP_SECONDS))

    def finish(self, end: bool) -> Summary:
        """Close the feed with an end clock if `end`, wait until all is delivered, and sum up."""
        if end:
            self.publisher.end()
        self._records.flush()
        seconds = time.monotonic() - self._began
        return Summary(self.publisher.quotes, seconds, self._first_ts, self.publisher.latest_ts, end)

    def _report(self) -> None:
        now = time.monotonic()
        latest = self.publisher.latest_ts
        if self._progress is None or latest is None or now - self._reported < _PROGRESS_SECONDS:
            return
        self._reported = now
        seconds = now - self._began
        done = self.fraction() if self.fraction is not None else 0.0
        left = seconds * (1 - done) / done if done > 0 else None
        self._progress(Progress(self.publisher.quotes, self._rate.at(self.publisher.quotes), latest, left))
