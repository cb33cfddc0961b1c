"""Trades are the same to the bit whether surveillance runs, is frozen, is killed, is absent, or is fed garbage."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from agents.stream import topics
from schemas.records import Control
from schemas.times import NS
from schemas.topics import TRADES
from tests.integration.pipeline import Pipeline, trades_hash, wait_until
from tests.kafka import Kafka
from tests.surveillance.worker import DEADLINE_SECONDS, PARTITIONS, SYMBOLS, T0, Desk, Worker

MINUTES = 10


def quotes() -> Iterator[dict[str, Any]]:
    generator = random.Random(8)
    mids = dict.fromkeys(SYMBOLS, 100.0)
    for second in range(60 * MINUTES):
        for symbol in SYMBOLS:
            mids[symbol] *= 1 + generator.gauss(0, 4e-4)
            ts = T0 + second * NS + generator.randrange(NS)
            bid, ask = round(mids[symbol] - 0.01, 4), round(mids[symbol] + 0.01, 4)
            yield {"symbol": symbol, "ts": ts, "bid": bid, "bid_size": 500.0, "ask": ask, "ask_size": 500.0}
        yield {"clock": T0 + second * NS}
    yield {"clock": T0 + 60 * MINUTES * NS, "end": True}


class Trading:
    """A pipeline of its own prefix; rows are published in parts."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.pipeline = Pipeline(bootstrap, prefix, partitions=PARTITIONS)
        self.pipeline.create_topics()
        self.desk = Desk(bootstrap, prefix)
        for symbol in SYMBOLS:
            self.pipeline.control(symbol, Control(max_position_dollars=50_000))
        self._rows = list(quotes())

    def publish(self, part: int, of: int) -> None:
        size = -(-len(self._rows) // of)
        self.pipeline.quotes(self._rows[part * size : (part + 1) * size])

    def finish(self) -> str:
        self.pipeline.wait_until_drained()
        self.pipeline.stop()
        # garbage has no headers; what the execution agent wrote has
        ours = [message for message in self.desk.messages(TRADES.name) if message.headers()]
        trades = [orjson.loads(message.value()) for message in ours]
        assert trades
        return trades_hash(sorted(trades, key=lambda trade: (trade["ts"], trade["symbol"])))


def alone(kafka: Kafka, prefix: str) -> str:
    trading = Trading(kafka.bootstrap, prefix + "alone-")
    trading.pipeline.start_all()
    trading.publish(0, 1)
    return trading.finish()


def test_trades_are_the_same_with_surveillance_running_frozen_killed_and_fed_garbage(
    kafka: Kafka, prefix: str, tmp_path: Path
) -> None:
    trading = Trading(kafka.bootstrap, prefix + "watched-")
    desk = trading.desk
    with Worker(desk, tmp_path) as worker:
        trading.pipeline.start_all()
        trading.publish(0, 4)
        wait_until(lambda: worker.counts("executions").get("used", 0) > 0, "surveillance to see executions")
        worker.signal(signal.SIGSTOP)
        trading.publish(1, 4)
        worker.signal(signal.SIGCONT)
        for partition in range(PARTITIONS):
            for topic in ("trades", "pnl", "orders", "dead-letters", "alerts"):
                desk.write_raw(topic, partition, b"AAPL", b"garbage")
        trading.publish(2, 4)
        worker.kill()
    trading.publish(3, 4)
    assert trading.finish() == alone(kafka, prefix)
    with Worker(desk, tmp_path) as worker:
        expected = len([message for message in desk.messages(TRADES.name) if message.headers()])

        def caught_up() -> bool:
            return sum(at["trades"] for at in worker.ever().values()) == expected

        wait_until(caught_up, "surveillance to have every trade", DEADLINE_SECONDS)


def test_what_the_money_agents_read_is_never_written_by_surveillance(desk: Desk, tmp_path: Path) -> None:
    def ends() -> dict[str, dict[int, int]]:
        names = ("quotes", "signals", "executions", "trades", "pnl", "orders", "positions", "checkpoints", "moments")
        found = {name: desk.ends(name) for name in names}
        found["controls"] = dict(topics.ends(desk.admin, desk.config.name("controls"), [0]))
        return found

    before = ends()
    with Worker(desk, tmp_path) as worker:
        desk.write_raw("dead-letters", 0, b"x", b"y")
        wait_until(lambda: worker.page("/alerts").get("open"), "an alert")
        worker.stop()
    assert ends() == before
