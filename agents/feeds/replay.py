"""Replay: files of quotes onto ``quotes``, at any speed, in the order of their ts."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.feeds.files import QuoteFiles, read_quotes
from agents.feeds.held import refuse_rerun
from agents.feeds.merging import shuffled
from agents.feeds.quotes import Quotes
from agents.feeds.session import OnProgress, Session, Summary
from agents.feeds.wire import Wire
from agents.stream.config import KafkaConfig
from agents.stream.errors import BadConfiguration
from schemas.times import NS

__all__ = ["ReplaySettings", "Summary", "read_quotes", "run"]


@dataclass(frozen=True)
class ReplaySettings:
    """How files are replayed.

    speed: seconds of event time a second, None for as fast as the broker takes it.
    shuffle_within_seconds: mix the symbols up within windows of so much event time, from `seed`, for tests.
    """

    speed: float | None = None
    feed: str = "replay"
    wire: Wire = Wire.JSON
    shuffle_within_seconds: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("speed", "shuffle_within_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise BadConfiguration(f"{name} must be a number above 0, not {value}")


def run(
    config: KafkaConfig,
    files: Sequence[Path],
    settings: ReplaySettings,
    progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> Summary:
    """Send the rows of all files, merged by ts, and an end clock; interrupted, no end clock.

    Rows are sent as they are: whether a quote can be used is the agents' to say. Raises BadConfiguration for a file
    that cannot be used, or that begins before what the topic holds; NoBroker, MissingTopics, StreamError.
    """
    source = QuoteFiles(files)
    chunks = iter(source)
    first = next(chunks, None)
    if first is None:
        raise BadConfiguration(f"no quotes in {', '.join(str(path) for path in files)}")
    refuse_rerun(config, int(first.ts[0]))
    rows: Iterator[Quotes] = itertools.chain([first], chunks)
    if settings.shuffle_within_seconds is not None:
        rows = shuffled(rows, settings.shuffle_within_seconds, settings.seed)
    with Session(config, settings.feed, settings.wire, progress, stop or threading.Event()) as session:
        session.fraction = lambda: source.fraction
        if settings.speed is None:
            _send_all(session, rows)
        else:
            event_time = _event_time(int(first.ts[0]), settings.speed)
            for chunk in rows:
                send_when_due(session, chunk, event_time, settings.speed)
        return session.finish(end=not session.stop.is_set())


def send_when_due(session: Session, chunk: Quotes, event_time: Callable[[], int], speed: float) -> None:
    """Send each row when event time reaches its promise, with clocks through the gaps, until a stop."""
    at = 0
    while at < len(chunk) and not session.stop.is_set():
        now = event_time()
        due = int(np.searchsorted(chunk.promise, now, "right"))
        if due > at:
            session.send(chunk.take(slice(at, due)))
            at = due
        else:
            session.publisher.advance(min(now, time.time_ns()))
            session.wait((int(chunk.promise[at]) - now) / NS / speed)


def _send_all(session: Session, chunks: Iterator[Quotes]) -> None:
    for chunk in chunks:
        if session.stop.is_set():
            return
        session.send(chunk)


def _event_time(first_ts: int, speed: float) -> Callable[[], int]:
    began = time.monotonic()
    return lambda: first_ts + int((time.monotonic() - began) * speed * NS)
