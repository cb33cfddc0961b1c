"""An agent that starts while the broker is slow to open its transactions."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from agents.stream import clients
from tests.integration.pipeline import Pipeline, wait_until


def test_agent_takes_no_partitions_from_others_before_it_can_work(
    pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    class Opening(Producer):
        def init_transactions(self, *timeout: Any) -> None:
            super().init_transactions(*timeout)
            events.append("can work")

    class Joining(Consumer):
        def subscribe(self, *topics: Any, **callbacks: Any) -> None:
            events.append("joins its group")
            super().subscribe(*topics, **callbacks)

    monkeypatch.setattr(clients, "Producer", Opening)
    monkeypatch.setattr(clients, "Consumer", Joining)
    agent = pipeline().start("portfolio")
    wait_until(lambda: bool(agent.runner.assigned), "partitions")
    assert events == ["can work", "joins its group"]


def test_connection_that_breaks_while_transactions_are_opened_is_no_end(
    pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []

    class Interrupted(Producer):
        def init_transactions(self, *timeout: Any) -> None:
            calls.append(self)
            if len(calls) == 1:
                raise KafkaException(KafkaError(KafkaError._TRANSPORT))
            super().init_transactions(*timeout)

    monkeypatch.setattr(clients, "Producer", Interrupted)
    agent = pipeline().start("portfolio")
    wait_until(lambda: bool(agent.runner.assigned), "partitions")
    assert len(set(calls)) == 1 < len(calls)
