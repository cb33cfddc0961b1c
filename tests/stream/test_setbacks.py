"""Failures in a row make the next try wait, and refusals in a row end the trying; progress elsewhere does neither."""

from __future__ import annotations

import pytest

from agents.stream.errors import ProducerLost, Refused, StreamError, TransactionFailed
from agents.stream.setbacks import Setbacks

REFUSED = Refused("signals takes no batch", "raise its limit")
PASSING = (TransactionFailed("partitions were lost"), ProducerLost("timed out"))


def after(*errors: StreamError) -> Setbacks:
    """Setbacks of the same input, partition 0 up to offset 10."""
    setbacks = Setbacks()
    for error in errors:
        setbacks.add({0: 10}, error)
    return setbacks


def test_the_first_failure_costs_no_time_and_those_after_it_more_and_more() -> None:
    pauses = [after(*[REFUSED] * failures).pause_seconds for failures in range(100)]
    assert pauses[:2] == [0.0, 0.0]
    assert pauses[2:] == sorted(pauses[2:])
    assert 0 < pauses[2] <= 0.1
    assert pauses[-1] == 2.0


def test_a_refusal_lasts_when_it_comes_again_and_again() -> None:
    assert [after(*[REFUSED] * failures).lasting is not None for failures in range(8)] == [False] * 6 + [True] * 2
    lasting = after(*[REFUSED] * 6).lasting
    assert lasting is not None
    assert (str(lasting), lasting.remedy) == (str(REFUSED), REFUSED.remedy)


@pytest.mark.parametrize("error", PASSING)
def test_what_may_pass_never_lasts(error: StreamError) -> None:
    assert after(*[error] * 10_000).lasting is None


def test_refusals_count_among_other_failures() -> None:
    assert after(*[REFUSED, *PASSING] * 6).lasting is not None


@pytest.mark.parametrize("positions", [{1: 500}, {0: 9, 1: 500}])
def test_commits_of_other_input_change_nothing(positions: dict[int, int]) -> None:
    setbacks = after(*[REFUSED] * 6)
    setbacks.committed(positions)
    assert setbacks.lasting is not None
    assert setbacks.pause_seconds > 0


@pytest.mark.parametrize("positions", [{0: 10}, {0: 11, 1: 500}])
def test_all_is_well_once_what_failed_is_committed(positions: dict[int, int]) -> None:
    setbacks = after(*[REFUSED] * 6)
    setbacks.committed(positions)
    assert setbacks.lasting is None
    assert setbacks.pause_seconds == 0


def test_every_partition_of_what_failed_has_to_be_committed() -> None:
    setbacks = Setbacks()
    for _ in range(6):
        setbacks.add({0: 10, 1: 20}, REFUSED)
    setbacks.committed({0: 10})
    assert setbacks.lasting is not None
    setbacks.committed({0: 10, 1: 20})
    assert setbacks.lasting is None


def test_partitions_that_are_given_away_are_the_next_owners_care() -> None:
    setbacks = after(*[REFUSED] * 6)
    setbacks.drop(1)
    assert setbacks.lasting is not None
    setbacks.drop(0)
    assert setbacks.lasting is None
    assert setbacks.pause_seconds == 0
