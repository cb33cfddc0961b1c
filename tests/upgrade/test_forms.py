"""The forms in which the agents keep their state, and the number that each of them carries.

A form that has changed fails here first. Then decide: where an older version can read the new form and loses nothing
that matters by writing it back, change the list below; where it cannot, raise `state_version` of the agent as well, so
that it stops at what it does not know. In both cases `test_recorded_states` holds this version to reading the old form.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents.execution import ExecutionAgent
from agents.portfolio import PortfolioAgent
from agents.signals import SignalsAgent
from agents.strategy import grid
from agents.strategy.controls import Schedule, StarVersion, Version
from agents.strategy.stored import Block, FeedState, Progress
from schemas.records import MAX_FEED_CHARACTERS, Checkpoint, Control, Pnl, Position, StarControl

_CONTROLS = {
    "Schedule": "current waiting",
    "Version": "version control",
    "Control": "max_position_dollars lot_shares size_step min_fill_shares max_loss_dollars allow_short state "
    "effective_from",
}
_STATE: dict[Any, tuple[int, tuple[Any, ...], dict[str, str]]] = {
    SignalsAgent: (
        1,
        (Block, Schedule, Version, Control, Progress, FeedState, StarVersion, StarControl),
        {
            "Block": "symbols rows schedules",
            **_CONTROLS,
            "Progress": "clock feeds star controls_position",
            "FeedState": "feed ts open",
            "StarVersion": "version control",
            "StarControl": "state effective_from",
        },
    ),
    ExecutionAgent: (
        1,
        (Position,),
        {
            "Position": "symbol ts time shares average_cost cash realised fees trades state control_version "
            "loss_latched_version"
        },
    ),
    PortfolioAgent: (
        1,
        (Pnl,),
        {"Pnl": "symbol ts time shares average_cost realised unrealised fees net mark mark_ts exposure"},
    ),
}


@pytest.mark.parametrize("agent", _STATE, ids=lambda agent: agent.role)
def test_the_forms_of_a_roles_state_are_those_of_its_version(agent: Any) -> None:
    version, kinds, forms = _STATE[agent]
    assert {kind.__name__: " ".join(kind.__struct_fields__) for kind in kinds} == forms
    assert agent.state_version == version


def test_the_moments_of_a_symbol_are_eleven_numbers_of_eight_bytes() -> None:
    assert " ".join(f"{name}:{grid.ROW[name].str}" for name in grid.ROW.names or ()) == (
        "rows:<i8 warm_start:<i8 ts:<i8 bid:<f8 bid_size:<f8 ask:<f8 ask_size:<f8 ema:<f8 var:<f8 "
        "next_decision:<i8 next_mark:<i8"
    )


def test_a_checkpoint_without_a_number_is_of_the_first_form() -> None:
    fields = {field.name: field.default for field in msgspec.structs.fields(Checkpoint)}
    assert fields["state_version"] == 1


def test_a_stored_feed_is_bounded_as_a_clocks_is() -> None:
    stored = {"feed": "f" * MAX_FEED_CHARACTERS, "ts": 0, "open": True}
    assert msgspec.convert(stored, FeedState).feed == stored["feed"]
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**stored, "feed": "f" * (MAX_FEED_CHARACTERS + 1)}, FeedState)
