"""What earlier versions kept on the broker, as `tests.upgrade.record` wrote it down: this one goes on from it.

A change of what is kept must read these files as they are. Where an older version could not read the new form, or would
lose some of it, `state_version` of the agent rises by one (docs/decisions.md, Exactly once).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents import __version__
from schemas.topics import CONTROLS
from tests.integration.pipeline import Pipeline, trades_hash, wait_until
from tests.upgrade.record import INPUTS, STATES, raw

TAKEN = b"{}"
"""Stands for input that had been taken; of the state alone its number is of interest."""


@pytest.mark.parametrize("recorded", sorted(STATES.glob("*.json")), ids=lambda path: path.stem)
def test_this_version_goes_on_where_an_earlier_one_stopped(recorded: Path, pipeline: Callable[..., Pipeline]) -> None:
    state = json.loads(recorded.read_text())
    desk = pipeline(partitions=state["partitions"])
    put_back(desk, state)
    desk.start_all()
    desk.quotes(state["rest"])
    wait_until(lambda: desk.pnl() == state["pnl"] or failed(desk), "profit and loss at the end of the day")
    desk.stop()

    trades, before = desk.trades(), state["trades_before"]
    whole = sorted(state["trades"], key=lambda trade: (trade["ts"], trade["symbol"]))
    assert before > 5 < len(trades)
    assert trades_hash(trades) == trades_hash(whole[before:])
    assert desk.table("positions") == state["positions"]
    assert desk.counters("signals")["used"] == state["used"]
    assert not desk.messages("dead-letters")


def test_this_version_is_recorded() -> None:
    assert (STATES / f"{__version__}.json").exists(), "python -m tests.upgrade.record"


def put_back(desk: Pipeline, state: dict[str, Any]) -> None:
    """The topics as they were; the groups' offsets have expired."""
    desk.publish(CONTROLS.name, [(0, key.encode(), raw(value)) for key, value in state["controls"]])
    found: dict[str, list[tuple[int, bytes | None, bytes | None]]] = defaultdict(list)
    for role, topic in INPUTS.items():
        for partition, offset in state["offsets"][role].items():
            found[topic.name] += [(int(partition), None, TAKEN)] * offset
    for name, partition, key, value in [*state["waiting"], *state["kept"]]:
        found[name].append((partition, key.encode() if key else None, raw(value)))
    for name, records in found.items():
        desk.publish(name, records)


def failed(desk: Pipeline) -> bool:
    for running in desk.running:
        if running.errors:
            raise running.errors[0]
    return False
