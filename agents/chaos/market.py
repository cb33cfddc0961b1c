"""What a chaos run is fed: the same quotes and controls for the undisturbed run and for the disturbed one."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agents.feeds.files import read_quotes
from agents.feeds.generator import WalkSettings, symbol_names, until, walk
from agents.feeds.publisher import QuotePublisher
from agents.feeds.quotes import Quotes
from agents.feeds.wire import Wire
from agents.stream.config import KafkaConfig
from agents.stream.publish import Publisher
from schemas.controls import encode_control
from schemas.records import EVERY_SYMBOL, Control, StarControl, State
from schemas.times import NS
from schemas.topics import CONTROLS, QUOTES

log = logging.getLogger(__name__)
START_TS = 1_767_623_400 * NS  # a trading day's opening
FEED = "chaos"
_DAY_NS = 24 * 3600 * NS
_LEAD_SECONDS = (15.0, 120.0)
_BOUND_SECONDS = (20.0, 90.0)
_STAR_SHARE = 0.1
_TICK_SECONDS = 0.01
_PATIENCE_SECONDS = 250.0  # two broker faults, one right behind the other, on a slow machine
_BAD_FRACTION = 0.01


@dataclass(frozen=True)
class Change:
    """One control to be published when event time reaches `publish_ts`."""

    publish_ts: int
    key: str
    control: Control | StarControl

    @property
    def record(self) -> tuple[bytes, bytes]:
        """Key and value."""
        return self.key.encode(), encode_control(self.control)


@dataclass(frozen=True)
class Market:
    """Input of a run. files: quotes of real days; else `symbols` made up, `rate` quotes an event second.

    seconds: event time that is played, from the first quote on. changes: how many controls change meanwhile.
    """

    seed: int
    seconds: float
    symbols: int = 280  # more than any table begins with room for, in each of four partitions
    rate: float = 100.0
    changes: int = 40
    files: tuple[Path, ...] = field(default=())

    def quotes(self) -> Iterator[Quotes]:
        """The quotes, the same at each call."""
        if not self.files:
            settings = WalkSettings(self.symbols, self.rate, self.seed, _BAD_FRACTION)
            return until(walk(settings, START_TS), START_TS + round(self.seconds * NS))
        rows = read_quotes(self.files)
        first = next(rows)
        return until(_chain(first, rows), int(first.ts[0]) + round(self.seconds * NS))

    def names(self) -> list[str]:
        """The symbols."""
        if not self.files:
            return symbol_names(self.symbols)
        return sorted({symbol for chunk in self.quotes() for symbol in chunk.symbols})

    def controls(self) -> tuple[list[Change], list[Change]]:
        """Those that are published before the first quote, and those that follow, by their times of publication."""
        chance = random.Random(f"controls-{self.seed}")
        names = self.names()
        start = int(next(self.quotes()).promise[0])
        first = [Change(0, name, Control(max_position_dollars=_dollars(chance))) for name in names]
        later: list[Change] = []
        while len(later) < self.changes:
            effective = start + round(chance.uniform(0.05, 0.9) * self.seconds) * NS + chance.randrange(NS)
            publish = effective - round(chance.uniform(*_LEAD_SECONDS) * NS)
            if chance.random() < _STAR_SHARE:
                state = chance.choice((State.REDUCING, State.CLOSING, State.HALTED))
                # Lifted after a while, or nothing would trade any more; by a newer version, or it would not hold.
                lasting = round(chance.uniform(*_BOUND_SECONDS) * NS)
                lifted = StarControl(state=State.ACTIVE, effective_from=effective + lasting)
                later.append(Change(publish, EVERY_SYMBOL, StarControl(state=state, effective_from=effective)))
                later.append(Change(publish + lasting, EVERY_SYMBOL, lifted))
            else:
                later.append(Change(publish, chance.choice(names), _control(chance, effective)))
        return first, sorted(later, key=lambda change: change.publish_ts)

    def published(self) -> list[tuple[bytes, bytes]]:
        """Key and value of every control, in the order in which they are published."""
        first, later = self.controls()
        return [change.record for change in [*first, *later]]


def _chain(first: Quotes, rest: Iterator[Quotes]) -> Iterator[Quotes]:
    yield first
    yield from rest


def _dollars(chance: random.Random) -> float:
    return float(chance.choice((5_000, 20_000, 50_000, 200_000)))


def _control(chance: random.Random, effective_from: int) -> Control:
    return Control(
        max_position_dollars=_dollars(chance),
        lot_shares=float(chance.choice((50, 100, 200))),
        max_loss_dollars=chance.choice((None, None, 50.0, 500.0)),
        allow_short=chance.random() < 0.8,
        state=chance.choices([State.ACTIVE, State.REDUCING, State.CLOSING, State.HALTED], (7, 1, 1, 1))[0],
        effective_from=effective_from,
    )


class Player(threading.Thread):
    """Publishes a market straight to the broker. seconds: how much event time has passed, None for as fast as it goes.

    A control is confirmed by the broker before any quote goes out that is later than its time of publication.
    """

    def __init__(self, config: KafkaConfig, market: Market, seconds: Callable[[], float] | None) -> None:
        super().__init__(name="player", daemon=True)
        self._config = config
        self._market = market
        self._seconds = seconds
        self.error: Exception | None = None
        self.sent = 0

    def run(self) -> None:
        """Publish everything and the end clock."""
        try:
            self._play()
        except Exception as error:
            log.exception("the feed failed")
            self.error = error

    def _play(self) -> None:
        first, later = self._market.controls()
        operator = Publisher(self._config, CONTROLS, patience_seconds=_PATIENCE_SECONDS)
        sink = Publisher(self._config, QUOTES, patience_seconds=_PATIENCE_SECONDS)
        publisher = QuotePublisher(sink, FEED, Wire.JSON)
        for change in first:
            _publish(operator, change)
        start: int | None = None
        for chunk in self._market.quotes():
            start = int(chunk.promise[0]) if start is None else start
            for rows in self._paced(chunk, start):
                while later and later[0].publish_ts <= int(rows.promise[-1]):
                    _publish(operator, later.pop(0))
                publisher.publish(rows)
                self.sent = publisher.quotes
        publisher.end()
        for change in later:  # due after the last quote
            _publish(operator, change)
        for producer in (sink, operator):
            producer.flush()
            producer.close()

    def _paced(self, chunk: Quotes, start: int) -> Iterator[Quotes]:
        if self._seconds is None:
            yield chunk
            return
        at = 0
        while at < len(chunk):
            now = start + round(self._seconds() * NS)
            due = int(np.searchsorted(chunk.promise, now, "right"))
            if due > at:
                yield chunk.take(slice(at, due))
                at = due
            else:
                time.sleep(_TICK_SECONDS)


def _publish(operator: Publisher, change: Change) -> None:
    operator.send([(0, *change.record)])
    operator.flush()
