"""An agent that is told to stop, whatever its group is about."""

import time
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer

from agents.stream import clients
from agents.stream.groups import ASK_SECONDS, answer_of
from tests.integration.pipeline import Pipeline, wait_until


def test_waiting_revocation_is_served_before_the_group_is_left(
    pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    class Noted(Consumer):
        def close(self) -> None:
            if self is desk.running[0].runner._consumer:  # the others read tables
                events.append("leaves")
            super().close()

    desk = pipeline()
    with monkeypatch.context() as patch:
        patch.setattr(clients, "Consumer", Noted)
        leaving = desk.start("signals", "0")
        wait_until(lambda: len(leaving.runner.assigned) == desk.partitions, "all partitions")
    drop = leaving.runner._drop
    leaving.runner._drop = lambda partitions: (events.append("revocation"), drop(partitions))
    leaving.runner._turn = lambda: time.sleep(0.01)  # serves nothing
    desk.start("signals", "1")
    wait_until(lambda: 0 < assigned_by_group(desk, "0") < desk.partitions, "the group to take some partitions away")
    leaving.stop()
    assert events == ["revocation", "leaves", "revocation"]


def assigned_by_group(desk: Pipeline, instance: str) -> int:
    """How many partitions of signals the group gives to an instance, whether that knows of it or not."""
    name = desk.config.name("signals")
    group = answer_of(lambda: desk.admin.describe_consumer_groups([name], request_timeout=ASK_SECONDS)[name].result())
    given = [
        each.assignment.topic_partitions for each in group.members if each.group_instance_id == f"{name}-{instance}"
    ]
    return len(given[0]) if given else 0
