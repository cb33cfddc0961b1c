"""Two versions past each other on a real broker: one agent at a time, forth and back, and the trades are the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaException

from agents.strategy.stored import Block
from schemas.topics import EXECUTIONS, MOMENTS, SIGNALS
from tests.integration.pipeline import Pipeline, trades_hash, wait_until
from tests.upgrade import market, versions
from tests.upgrade.versions import ROOT, Fleet, fleet

ADDED = {SIGNALS.name: "venue", EXECUTIONS.name: "spread"}
"""Fields of the next version in topics of which nothing is compacted away meanwhile."""


class NextBlock(Block, frozen=True, array_like=True):
    written_by: str | None = None


@pytest.mark.timeout(600)
def test_agents_of_two_versions_roll_past_each_other(pipeline: Callable[..., Pipeline], tmp_path: Path) -> None:
    this, coming = ROOT, versions.other_version(tmp_path / "next", versions.ADDED_FIELDS)
    rows = market.quotes()
    waiting = iter(market.parts(rows, 8))
    desk = pipeline()
    for key, control in market.CONTROLS:
        desk.control(key, control)

    with fleet(desk, tmp_path) as agents:
        for role, instance in (("signals", "a"), ("signals", "b"), ("execution", "a"), ("portfolio", "a")):
            agents.start(this, role, instance)
        wait_until(lambda: each_holds(desk, "signals", 2), "both to hold partitions")
        go_on(desk, agents, waiting)
        assert not any(written_by_next(desk, role) for role in ("signals", "execution", "portfolio"))
        assert {c["instance"] for c in desk.checkpoints("signals")} == {"a", "b"}

        # Readers first: each still reads what the version before writes.
        for role, instance in (("execution", "a"), ("portfolio", "a"), ("signals", "a")):
            change(agents, coming, role, instance)
            go_on(desk, agents, waiting)
            assert written_by_next(desk, role) == of_instance(desk, role, instance) != set()
        # The old one takes partitions over from the new one, with rows and clocks that have more fields than it knows.
        left = of_instance(desk, "signals", "a")
        writers = moments_by(desk)  # of partitions that have symbols
        assert writers.keys() & left
        assert {partition for partition, by in writers.items() if by == {"next"}} == writers.keys() & left
        agents.stop("signals", "a")
        go_on(desk, agents, waiting)
        assert of_instance(desk, "signals", "b") == set(range(desk.partitions))
        assert written_by_next(desk, "signals") == set()
        # To the end of it.
        change(agents, coming, "signals", "b")
        agents.start(coming, "signals", "a")
        wait_until(lambda: each_holds(desk, "signals", 2), "both to hold partitions again")
        go_on(desk, agents, waiting)
        assert written_by_next(desk, "signals") == set(range(desk.partitions))
        # And one role back again.
        change(agents, this, "execution", "a")
        go_on(desk, agents, waiting)
        assert written_by_next(desk, "execution") == set()
        go_on(desk, agents, waiting)
        agents.stop_all()

    assert next(waiting, None) is None
    for topic, field in ADDED.items():
        assert {field in record for record in desk.records(topic)} == {False, True}, topic
    wanted = market.undisturbed(rows)
    trades = desk.trades()
    assert len({trade["id"] for trade in trades}) == len(trades) > 20
    assert trades_hash(trades) == trades_hash(wanted.published("trades"))
    assert without(desk.table("positions"), "desk") == wanted.latest("positions")
    assert without(desk.pnl(), "turnover") == wanted.latest("pnl")
    counted, expected = desk.counters("signals"), wanted.counters()
    assert counted["used"] == expected["used"] and not counted["late"]
    assert not desk.messages("dead-letters")


def go_on(desk: Pipeline, agents: Fleet, waiting: Any) -> None:
    """The next part of the quotes, through all agents."""
    desk.quotes(next(waiting))

    def drained() -> bool:
        agents.alive()
        try:
            desk.wait_until_drained(2.0)
        except AssertionError:
            return False
        return True

    wait_until(drained, "all agents to take the quotes", 120)


def change(agents: Fleet, version: Path, role: str, instance: str) -> None:
    """One agent goes and comes back under its name, in another version."""
    agents.stop(role, instance)
    taken = agents.said(role, instance).count(" holds partitions ")
    agents.start(version, role, instance)
    # Or, on a slow machine, its session may end and another take its partitions before there is anything to read.
    wait_until(lambda: agents.said(role, instance).count(" holds partitions ") > taken, f"{role}-{instance} to be back")


def each_holds(desk: Pipeline, role: str, partitions: int) -> bool:
    """Whether two members of a role's group have that many partitions each."""
    (answer,) = desk.admin.describe_consumer_groups([desk.config.name(role)]).values()
    try:
        members = answer.result().members
    except KafkaException:
        return False  # its coordinator is still being found
    return [len(member.assignment.topic_partitions) for member in members] == [partitions, partitions]


def of_instance(desk: Pipeline, role: str, instance: str) -> set[int]:
    return {c["partition"] for c in desk.checkpoints(role) if c["instance"] == instance}


def written_by_next(desk: Pipeline, role: str) -> set[int]:
    return {c["partition"] for c in desk.checkpoints(role) if "written_by" in c}


def moments_by(desk: Pipeline) -> dict[int, set[str | None]]:
    """Who wrote the latest rows of each partition."""
    newest = {(m.partition(), m.key()): m.value() for m in desk.messages(MOMENTS.name)}
    found: dict[int, set[str | None]] = {}
    for (partition, _), value in newest.items():
        found.setdefault(partition, set()).add(msgspec.msgpack.decode(value, type=NextBlock).written_by)
    return found


def without(table: Mapping[str, Mapping[str, Any]], field: str) -> dict[str, dict[str, Any]]:
    return {key: {name: value for name, value in row.items() if name != field} for key, row in table.items()}
