"""A small live desk for the page's tests: the pipeline's agents, and quotes at the market's pace."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from agents.strategy.settings import Settings
from agents.stream import clients
from schemas.records import Control
from schemas.times import NS
from schemas.topics import QUOTES
from tests.integration.pipeline import Pipeline, json_records, wait_until

SYMBOLS = ("AAPL", "GOOG", "BAC")
STEP_SECONDS = 0.5
PAST_SECONDS = 240
_WAVE = 40

SETTINGS = Settings(decision_seconds=1, warmup_seconds=5.0, tau_seconds=5.0, fee_per_share=0.01)


def quote(symbol: str, ts: int) -> dict[str, Any]:
    """A price that swings like a saw, so that both thresholds are crossed all the time; the same for the same ts."""
    step = ts // (NS // 2)
    phase = (step + 7 * SYMBOLS.index(symbol)) % _WAVE if symbol in SYMBOLS else step % _WAVE
    swing = min(phase, _WAVE - phase)
    bid = 100.0 + swing * 0.25 + (step % 3) * 0.01
    return {"symbol": symbol, "ts": ts, "bid": bid, "bid_size": 500.0, "ask": bid + 0.02, "ask_size": 500.0}


@dataclass
class Desk:
    """The pipeline with its feed. `symbols` can be added to while it runs."""

    pipeline: Pipeline
    symbols: list[str] = field(default_factory=lambda: list(SYMBOLS))
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def begin(self, past_seconds: float = PAST_SECONDS) -> None:
        """Write the past at once, then go on at the market's pace."""
        self.pipeline.create_topics()
        for symbol in SYMBOLS:
            self.pipeline.control(symbol, Control(max_position_dollars=20_000, lot_shares=50))
        now = _step_now()
        steps = int(past_seconds / STEP_SECONDS)
        self.pipeline.quotes(row for k in range(steps, 0, -1) for row in self._rows(now - k * NS // 2))
        self.pipeline.start_all()
        self._thread = threading.Thread(target=self._feed, name="feed", daemon=True)
        self._thread.start()

    def silence(self) -> None:
        """End the feed."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(30)

    def end(self) -> None:
        """End feed and agents."""
        self.silence()
        self.pipeline.stop()

    def _feed(self) -> None:
        producer, topic = clients.producer(self.pipeline.config), self.pipeline.config.name(QUOTES.name)
        due = _step_now()
        while not self._stopping.wait(max(0.0, (due - time.time_ns()) / NS)):
            for partition, key, value in json_records(self._rows(due), self.pipeline.partitions):
                producer.produce(topic, value, key, partition)
            producer.poll(0)
            due += NS // 2
        assert producer.flush(30) == 0

    def _rows(self, ts: int) -> list[dict[str, Any]]:
        rows = [quote(symbol, ts + i * 1_000_000) for i, symbol in enumerate(self.symbols)]
        return [*rows, {"clock": ts + NS // 4, "feed": "desk"}]


@contextlib.contextmanager
def running_desk(bootstrap: str, prefix: str, **more: Any) -> Iterator[Desk]:
    """A desk for a `with` block."""
    desk = Desk(Pipeline(bootstrap, prefix, settings=SETTINGS))
    desk.begin(**more)
    try:
        yield desk
    finally:
        desk.end()


@contextlib.contextmanager
def silent_desk(bootstrap: str, prefix: str) -> Iterator[Desk]:
    """A desk that has traded and whose feed has fallen silent, for a `with` block: everything stands still."""
    with running_desk(bootstrap, prefix, past_seconds=120) as desk:
        wait_until(lambda: len(desk.pipeline.trades()) > 20, "trades")
        desk.silence()
        desk.pipeline.wait_until_drained()
        yield desk


def controls(desk: Desk) -> dict[str, dict[str, Any]]:
    """The newest control of every key."""
    values = {m.key().decode(): m.value() for m in desk.pipeline.messages("controls")}
    return {key: orjson.loads(value) for key, value in values.items() if value is not None}


def control(desk: Desk, symbol: str) -> dict[str, Any]:
    """The newest control of a symbol."""
    return controls(desk)[symbol]


def _step_now() -> int:
    return time.time_ns() // (NS // 2) * (NS // 2)
