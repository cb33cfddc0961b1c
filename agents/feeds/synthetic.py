"""Synthetic quotes onto ``quotes``: history at full speed, then the market's pace."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from agents.feeds.feed_clock import FeedClock
from agents.feeds.generator import WalkSettings, until, walk
from agents.feeds.held import latest_ts, refuse_rerun
from agents.feeds.quotes import Quotes
from agents.feeds.session import OnProgress, Session, Summary
from agents.feeds.wire import Wire
from agents.stream.config import KafkaConfig
from agents.stream.errors import BadConfiguration
from schemas.times import NS

__all__ = ["Summary", "SyntheticSettings", "generate", "run"]


@dataclass(frozen=True)
class SyntheticSettings:
    """What is made up, and at which pace.

    live: history of `preroll_seconds` up to now, then each quote when it is due, stamped with the time at which it
    is sent, for `seconds` of wall time (None: until stopped). Else: `seconds` of event time from `start_ts` (ns;
    None: so that it ends now) at full speed.
    """

    walk: WalkSettings = field(default_factory=WalkSettings)
    live: bool = True
    seconds: float | None = None
    preroll_seconds: float = 0.0
    start_ts: int | None = None
    feed: str = "synthetic"
    wire: Wire = Wire.JSON

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise BadConfiguration(f"seconds must be a number above 0, not {self.seconds}")
        if not 0 <= self.preroll_seconds < math.inf:
            raise BadConfiguration(f"preroll_seconds must be a number from 0 on, not {self.preroll_seconds}")
        if self.live and self.start_ts is not None:
            raise BadConfiguration("start_ts is for history: live quotes carry the time at which they are sent")
        if not self.live and self.seconds is None:
            raise BadConfiguration("seconds says how much history to make; only live quotes go on until stopped")
        if not self.live and self.preroll_seconds:
            raise BadConfiguration("preroll_seconds is for live quotes; seconds says how much history to make")


def generate(settings: SyntheticSettings) -> Iterator[Quotes]:
    """The history of these settings: `preroll_seconds` where they are live, else `seconds`; no Kafka."""
    start, end = _span(settings)
    return until(walk(settings.walk, start), end)


def run(
    config: KafkaConfig,
    settings: SyntheticSettings,
    progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> Summary:
    """Send the history, then live quotes if these are wanted, and an end clock, also when stopped.

    The history of live quotes begins after what the topic holds; any other that begins before is refused.
    Raises BadConfiguration, NoBroker, MissingTopics, StreamError.
    """
    start, end = _span(settings)
    if settings.live:
        held = latest_ts(config)
        start = start if held is None else max(start, held + 1)
    else:
        refuse_rerun(config, start)
    with Session(config, settings.feed, settings.wire, progress, stop or threading.Event()) as session:
        if not settings.live:
            session.fraction = lambda: ((session.publisher.latest_ts or start) - start) / (end - start)
        source = _Source(walk(settings.walk, start))
        while len(rows := source.before(end)) and not session.stop.is_set():
            session.send(rows)
        if settings.live:
            _send_live(session, source, max(start, end), settings.seconds)
        return session.finish(end=True)


def _span(settings: SyntheticSettings) -> tuple[int, int]:
    """First and last moment of the history, ns."""
    seconds = settings.preroll_seconds if settings.live else settings.seconds or 0.0
    length = round(seconds * NS)
    start = time.time_ns() - length if settings.start_ts is None else settings.start_ts
    return start, start + length


class _Source:
    """Rows of a walk by the time at which they are due."""

    def __init__(self, chunks: Iterator[Quotes]) -> None:
        self._chunks = chunks
        self._rest = next(chunks)

    @property
    def next_ts(self) -> int:
        """When the next row is due."""
        return int(self._rest.promise[0])

    def before(self, ts: int) -> Quotes:
        """Rows that are due before ts, not more than there are at hand; none only if none is due."""
        rows = int(np.searchsorted(self._rest.promise, ts))
        taken = self._rest.take(slice(0, rows))
        self._rest = self._rest.take(slice(rows, None)) if rows < len(self._rest) else next(self._chunks)
        return taken


def _send_live(session: Session, source: _Source, start: int, seconds: float | None) -> None:
    """Each row when it is due after start (ns), at most a tick later; the clock goes on where there is none."""
    began = time.monotonic()
    clock = FeedClock(max(start, session.publisher.latest_ts or start), time.time_ns)
    while not session.stop.is_set():
        elapsed = time.monotonic() - began
        if seconds is not None and elapsed >= seconds:
            return
        due_ts = start + round(elapsed * NS)
        rows = source.before(due_ts + 1)
        now = clock.stamp(max(1, len(rows)))
        if len(rows):
            session.send(_restamped(rows, now))
        else:
            session.publisher.advance(now)
            session.wait((source.next_ts - due_ts) / NS)


def _restamped(rows: Quotes, first_ts: int) -> Quotes:
    """The rows with the time at which they are sent, each a nanosecond after the one before."""
    sent = first_ts + np.arange(len(rows))
    return dataclasses.replace(rows, ts=sent - (rows.promise - rows.ts), promise=sent)
