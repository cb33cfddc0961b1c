"""State of a form that this version does not know: it stops with one line and touches nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agents.execution import ExecutionAgent
from agents.portfolio import PortfolioAgent
from agents.repartition.run import repartition
from agents.signals import SignalsAgent
from agents.strategy.settings import Settings
from agents.stream import groups
from agents.stream.config import KafkaConfig
from agents.stream.errors import UnreadableState
from schemas.topics import CHECKPOINTS, MOMENTS, PNL, POSITIONS, TOPICS
from tests.integration.pipeline import Pipeline
from tests.upgrade import market
from tests.upgrade.versions import ROOT, fleet

AGENTS = {agent.role: agent for agent in (SignalsAgent, ExecutionAgent, PortfolioAgent)}


def worked(pipeline: Callable[..., Pipeline]) -> Pipeline:
    """A desk at rest after the first half of the day."""
    desk = pipeline(partitions=2)
    for key, control in market.CONTROLS:
        desk.control(key, control)
    desk.quotes(market.parts(market.quotes(), 2)[0])
    desk.start_all()
    desk.wait_until_drained()
    desk.stop()
    return desk


def everything(desk: Pipeline) -> dict[str, object]:
    """Where all topics end, and where the groups are."""
    ends = {name: groups.end_offsets(desk.config, name) for name in TOPICS}
    return {
        **ends,
        "groups": [groups.group_offsets(desk.config, role, agent.source.name) for role, agent in AGENTS.items()],
    }


def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    for agent in AGENTS.values():
        monkeypatch.setattr(agent, "state_version", agent.state_version + 1)


def test_state_of_a_newer_form_is_left_alone(
    pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    newer(monkeypatch)
    desk = worked(pipeline)
    monkeypatch.undo()
    desk.quotes(market.parts(market.quotes(), 2)[1])
    before = everything(desk)

    with fleet(desk, tmp_path) as agents:
        for role in AGENTS:
            agents.start(ROOT, role, "0")
        for role, agent in AGENTS.items():
            assert agents.end(role, "0") == UnreadableState.exit_status
            *_, last = agents.said(role, "0").splitlines()
            assert last.startswith(f"mm: the state of {role} at {desk.config.name(agent.source.name)} [")
            assert last.endswith(
                f"] has been written by a newer version of the product (its form is {agent.state_version + 1}, this "
                f"one knows {agent.state_version}). See docs/operations.md, unreadable state."
            )
    with pytest.raises(UnreadableState, match=r"the state of signals at .* newer version"):
        repartition(desk.config, KafkaConfig(desk.bootstrap, f"{desk.prefix}to-"), 3, Settings())
    assert everything(desk) == before

    newer(monkeypatch)  # which goes on
    desk.start_all()
    desk.wait_until_drained()
    desk.stop()
    wanted = market.undisturbed(market.quotes())
    assert desk.trades() == sorted(wanted.published("trades"), key=lambda trade: (trade["ts"], trade["symbol"]))


def test_what_cannot_be_read_is_told_in_one_line(pipeline: Callable[..., Pipeline]) -> None:
    desk = worked(pipeline)
    for role, topic, key, value in (
        ("signals", MOMENTS, b"0", b"\x93\xa1A\xc4\x00\x80"),  # no list of symbols
        ("signals", MOMENTS, b"0", b"\x93\x91\xa1A\xc4\x03abc\x80"),  # moments of another length
        ("execution", POSITIONS, b"AAPL", b'{"symbol":"AAPL"}'),
        ("portfolio", PNL, b"AAPL", b"{"),
        ("portfolio", CHECKPOINTS, b"portfolio-0", b'{"role":"portfolio"}'),
    ):
        desk.publish(topic.name, [(0, key, value)])
        agent = desk.start(role)
        agent.thread.join(60)
        desk.running.clear()
        (error,) = agent.errors
        assert isinstance(error, UnreadableState)
        where = f"the state of {role} at {desk.config.name(AGENTS[role].source.name)} [0]"
        assert str(error).startswith(f"{where} cannot be read (") and "\n" not in str(error)
