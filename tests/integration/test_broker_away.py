"""A broker that is away while an agent takes up its state is waited for; one that stays away is said to be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.stream import groups, topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import NoBroker
from agents.stream.restore import Restorer
from agents.stream.runner import Runner
from deploy.broker import Broker
from schemas.records import Control
from schemas.topics import QUOTES
from tests.integration import market
from tests.integration.pipeline import Pipeline, wait_until


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


class Away:
    """Stops the broker as soon as an agent is about to ask where its topics end, and notes that it waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, broker: Broker) -> None:
        self.waiting = threading.Event()
        self._stopped = threading.Event()
        read, beat = Restorer._read, Runner.beat

        def stop_first(this: Restorer, partitions: list[int]) -> Any:
            if not self._stopped.is_set():
                broker.stop()
                self._stopped.set()
            return read(this, partitions)

        def noted(this: Runner) -> None:
            if self._stopped.is_set():
                self.waiting.set()
            beat(this)

        monkeypatch.setattr(Restorer, "_read", stop_first)
        monkeypatch.setattr(Runner, "beat", noted)


def started(broker: Broker, prefix: str) -> Pipeline:
    desk = Pipeline(broker.bootstrap, prefix)
    desk.create_topics()
    for symbol in market.SYMBOLS:
        desk.control(symbol, Control(max_position_dollars=50_000))
    desk.quotes(market.quotes(seconds=50))
    desk.start("signals")
    return desk


@pytest.fixture
def waiting(broker: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A desk whose agent waits in its restore for a broker that has been stopped."""
    monkeypatch.setattr(topics, "_ANSWER_SECONDS", 3600.0)
    away = Away(monkeypatch, broker)
    desk = started(broker, prefix)
    assert away.waiting.wait(90), desk.running[0].errors
    return desk


def test_a_restore_goes_on_when_the_broker_is_back(broker: Broker, waiting: Pipeline) -> None:
    broker.start()
    waiting.wait_until_taken()
    waiting.stop()


def test_a_restore_tells_of_a_broker_that_stays_away(
    broker: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "_ANSWER_SECONDS", 0.0)
    Away(monkeypatch, broker)
    (agent,) = started(broker, prefix).running
    wait_until(lambda: not agent.thread.is_alive(), "the agent to give up")
    with pytest.raises(NoBroker, match=r"no Kafka broker .*start one with: mm broker up"):
        raise agent.errors[0]


def test_a_restore_without_a_broker_ends_when_it_is_told_to(waiting: Pipeline) -> None:
    waiting.stop()


@pytest.mark.parametrize(
    "ask",
    [
        lambda config: groups.delete_group(config, "nobody"),
        lambda config: groups.group_offsets(config, "nobody", QUOTES.name),
    ],
    ids=["delete", "offsets"],
)
def test_a_broker_that_has_had_no_group_yet_is_asked_again(
    ask: Callable[[KafkaConfig], object], broker: Broker, prefix: str
) -> None:
    """It answers NOT_COORDINATOR at first."""
    desk = Pipeline(broker.bootstrap, prefix)
    desk.create_topics()
    assert not ask(desk.config)
