"""Defects that chaos runs have found, each as small as it can be shown."""

from __future__ import annotations

import msgspec

from agents.execution import ExecutionAgent
from agents.strategy.settings import Settings
from schemas.records import Position


def test_execution_takes_up_a_table_of_more_symbols_than_it_first_has_room_for() -> None:
    positions = [
        Position(
            symbol=f"S{number}",
            ts=1,
            time="",
            shares=float(number),
            average_cost=10.0,
            cash=0.0,
            realised=0.0,
            fees=0.0,
            trades=1,
            state=None,
            control_version=None,
        )
        for number in range(200)
    ]
    task = ExecutionAgent(Settings()).task(0, 1)
    task.load({p.symbol.encode(): msgspec.json.encode(p) for p in positions}, None, {})
    for number in (0, 63, 64, 127, 128, 199):
        assert task._ledgers[task._numbers[f"S{number}"]]["position"] == number * 100_000_000
