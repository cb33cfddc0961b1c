"""What goes into one transaction of an agent that holds several partitions."""

import math
from collections.abc import Callable

import orjson
import pytest

from agents.stream import partition
from agents.stream.groups import group_offsets
from schemas.partitioning import partition_of
from schemas.topics import DEAD_LETTERS, QUOTES
from tests.integration.market import START
from tests.integration.pipeline import Pipeline, Running, wait_until

LOUD, QUIET = 0, 1
"""A partition whose records all give output, and one whose records give none."""
SYMBOL = next(f"S{i}" for i in range(100) if partition_of(f"S{i}", 2) == QUIET)


@pytest.fixture
def desk(pipeline: Callable[..., Pipeline]) -> Pipeline:
    """A desk of two partitions."""
    return pipeline(partitions=2)


def test_output_of_a_partition_does_not_wait_for_the_state_of_others(
    desk: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = signals_agent(desk)
    publish_quiet(desk)
    wait_until(lambda: stored(desk) == {QUIET: 1}, "the first state")
    monkeypatch.setattr(partition, "WITHOUT_OUTPUT_SECONDS", math.inf)
    publish_quiet(desk)
    wait_until(lambda: agent.runner._held[QUIET].position == 2, "the quote to be taken")
    publish_loud(desk)
    wait_until(lambda: bool(desk.messages(DEAD_LETTERS.name)), "output")
    assert stored(desk) == group_offsets(desk.config, "signals", QUOTES.name) == {LOUD: 1, QUIET: 1}
    agent.stop()
    assert stored(desk) == group_offsets(desk.config, "signals", QUOTES.name) == {LOUD: 1, QUIET: 2}


def test_state_without_output_is_stored_soon(desk: Pipeline) -> None:
    signals_agent(desk)
    publish_quiet(desk)
    wait_until(lambda: stored(desk) == {QUIET: 1}, "the state")


def test_state_without_output_is_stored_soon_beside_output_of_others(desk: Pipeline) -> None:
    signals_agent(desk)
    publish_quiet(desk)

    def stored_beside_output() -> bool:
        publish_loud(desk)
        return QUIET in stored(desk)

    wait_until(stored_beside_output, "the state")


def signals_agent(desk: Pipeline) -> Running:
    agent = desk.start("signals")
    wait_until(lambda: agent.runner.assigned == [0, 1], "partitions")
    return agent


def publish_quiet(desk: Pipeline) -> None:
    quote = {"symbol": SYMBOL, "ts": START, "bid": 9.99, "bid_size": 100, "ask": 10.01, "ask_size": 100}
    desk.publish(QUOTES.name, [(QUIET, SYMBOL.encode(), orjson.dumps(quote))])


def publish_loud(desk: Pipeline) -> None:
    desk.publish(QUOTES.name, [(LOUD, None, b"no quote")])


def stored(desk: Pipeline) -> dict[int, int]:
    return {checkpoint["partition"]: checkpoint["offset"] for checkpoint in desk.checkpoints("signals")}
