"""Controls as a run exports them, given to a backtest: at every decision the same control holds as in the run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given

from agents.backtest.controls import ControlLine, read_controls, stretches
from agents.controls.export import lines
from schemas.controls import parse_control
from schemas.records import ControlInForce, Execution, Signal
from tests.pipeline.offline import Pipeline, Raw
from tests.pipeline.scripts import Event, Rules, examples, histories, rules, run_agents


def exported(pipeline: Pipeline, records: Sequence[Raw], folder: Path) -> list[ControlLine]:
    """What a backtest reads from a file of `mm controls export`."""
    signals = [msgspec.convert(signal, Signal) for signal in pipeline.published("signals")]
    executions = [msgspec.convert(execution, Execution) for execution in pipeline.published("executions")]
    recorded = [(record.offset(), *parse_control(record.key(), record.value())) for record in records]
    file = folder / "controls.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines(signals, executions, recorded)))
    return read_controls(file)


def assert_held(pipeline: Pipeline, found: Sequence[ControlLine]) -> None:
    """Every signal's control is that of the lines at its time."""
    for signal in pipeline.published("signals"):
        [*_, holds] = [s.control for s in stretches(signal["symbol"], found) if s.start <= signal["ts"]]
        removed = signal["reason"] == "REMOVED"
        assert holds == (None if removed else msgspec.convert(signal["control"], ControlInForce))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the file, whose name is always the same."""
    return tmp_path_factory.mktemp("exported")


@examples(150)
@given(history=histories(), rules=rules())
def test_at_every_decision_the_exported_control_is_the_one_that_held(
    folder: Path, history: list[Event], rules: Rules
) -> None:
    pipeline = run_agents(history, rules)
    assert_held(pipeline, exported(pipeline, pipeline.controls.records, folder))


@examples(100)
@given(history=histories(), rules=rules())
def test_so_it_is_when_older_versions_and_tombstones_are_compacted_away(
    folder: Path, history: list[Event], rules: Rules
) -> None:
    pipeline = run_agents(history, rules)
    assert_held(pipeline, exported(pipeline, pipeline.controls.compacted(), folder))
