"""The agents against the plain reference, in every field and bit, on random histories."""

from __future__ import annotations

from hypothesis import given

from tests.pipeline.scripts import (
    DAYS,
    Event,
    Rules,
    as_frames,
    as_json,
    assert_same,
    examples,
    histories,
    result_of_agents,
    result_of_reference,
    rules,
    run_agents,
    run_reference,
)


@examples(120)
@given(history=histories(), rules=rules())
def test_json_records_give_what_the_reference_gives(history: list[Event], rules: Rules) -> None:
    agents = run_agents(history, rules, encode=as_json)
    assert_same(result_of_agents(agents), result_of_reference(run_reference(history, rules)))


@examples(60)
@given(history=histories(), rules=rules())
def test_frames_give_what_the_reference_gives(history: list[Event], rules: Rules) -> None:
    agents = run_agents(history, rules, encode=as_frames)
    assert_same(result_of_agents(agents), result_of_reference(run_reference(history, rules)))


@examples(40)
@given(history=histories(long_gaps=DAYS), rules=rules(decision_seconds=(600, 3600)))
def test_silences_of_days_give_what_the_reference_gives(history: list[Event], rules: Rules) -> None:
    agents = run_agents(history, rules)
    assert_same(result_of_agents(agents), result_of_reference(run_reference(history, rules)))
