"""One result: whatever the batches, the wire format, the partitions, the order across symbols, and the crashes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pipeline.offline import Pipeline
from tests.pipeline.scripts import (
    Cut,
    Event,
    Order,
    Row,
    Rules,
    Tick,
    as_frames,
    as_json,
    assert_equal,
    batches,
    examples,
    histories,
    result_of_agents,
    rules,
    run_agents,
    value_of,
)


def without_cuts(history: list[Event]) -> list[Event]:
    """The history in batches as large as the controls allow."""
    return [event for event in history if not isinstance(event, Cut)]


def cut_everywhere(history: list[Event]) -> list[Event]:
    """The history in batches of one record."""
    return [part for event in history for part in (event, Cut())]


@examples(40)
@given(history=histories(), rules=rules())
def test_the_split_into_batches_does_not_matter(history: list[Event], rules: Rules) -> None:
    one_by_one = result_of_agents(run_agents(cut_everywhere(history), rules))
    at_once = result_of_agents(run_agents(without_cuts(history), rules))
    # A batch publishes the row of `orders` of its last signal only: its latest one is the same.
    assert_equal(one_by_one, at_once)


@examples(30)
@given(history=histories(), rules=rules())
def test_the_wire_format_does_not_matter(history: list[Event], rules: Rules) -> None:
    assert_equal(
        result_of_agents(run_agents(history, rules)), result_of_agents(run_agents(history, rules, encode=as_frames))
    )


def shuffled_between_clocks(history: list[Event], seed: int) -> list[Event]:
    """Symbols interleaved anew, each in its own order; clocks, controls and cuts stay where they are."""
    shuffle = random.Random(seed)
    result: list[Event] = []
    run: list[Row] = []
    for event in [*history, Cut()]:
        if isinstance(event, Row):
            run.append(event)
            continue
        result += _riffled(run, shuffle)
        result.append(event)
        run = []
    return result


def _riffled(run: list[Row], shuffle: random.Random) -> list[Row]:
    queues: dict[str, list[Row]] = {}
    for row in run:
        queues.setdefault(row.symbol, []).append(row)
    order = [row.symbol for row in run]
    shuffle.shuffle(order)
    return [queues[symbol].pop(0) for symbol in order]


@examples(30)
@given(history=histories(), rules=rules(), seed=st.integers(0, 1 << 32))
def test_the_order_across_symbols_does_not_matter(history: list[Event], rules: Rules, seed: int) -> None:
    again = shuffled_between_clocks(history, seed)
    assert_equal(result_of_agents(run_agents(history, rules)), result_of_agents(run_agents(again, rules)))


CLOCK_COUNTERS = ("clock", "clock_back")


def without_clock_counters(result: dict[str, Any]) -> dict[str, Any]:
    """Clocks, and records refused as clocks, are counted once a partition."""
    counters = {name: n for name, n in result["counters"].items() if name not in (*CLOCK_COUNTERS, "bad_ts", "future")}
    return {**result, "counters": counters}


@examples(40)
@given(history=histories(), rules=rules(), partitions=st.integers(2, 5))
def test_the_number_of_partitions_does_not_matter(history: list[Event], rules: Rules, partitions: int) -> None:
    one = result_of_agents(run_agents(history, rules))
    many = result_of_agents(run_agents(history, rules, partitions))
    assert_equal(without_clock_counters(one), without_clock_counters(many))


# -- crashes ------------------------------------------------------------------------------------------------------


def crash_after(number: int, compacted: bool) -> Callable[[Pipeline, int], None]:
    """Commit every batch; start a new process from what was stored after one of them."""

    def after_batch(pipeline: Pipeline, batch: int) -> None:
        pipeline.commit()
        if batch == number:
            pipeline.crash(compacted)

    return after_batch


@examples(60)
@given(
    history=histories(),
    rules=rules(),
    number=st.integers(0, 8),
    compacted=st.booleans(),
    partitions=st.sampled_from((1, 1, 3)),
)
def test_a_new_process_goes_on_where_the_last_one_stored(
    history: list[Event], rules: Rules, number: int, compacted: bool, partitions: int
) -> None:
    straight = run_agents(history, rules, partitions)
    restored = run_agents(history, rules, partitions, after_batch=crash_after(number, compacted))
    assert_equal(result_of_agents(straight), result_of_agents(restored))


@examples(30)
@given(history=histories(), rules=rules(), compacted=st.booleans())
def test_a_new_process_after_every_batch_makes_no_difference(
    history: list[Event], rules: Rules, compacted: bool
) -> None:
    def commit_and_crash(pipeline: Pipeline, _number: int) -> None:
        pipeline.commit()
        pipeline.crash(compacted)

    straight = run_agents(history, rules)
    assert_equal(result_of_agents(straight), result_of_agents(run_agents(history, rules, after_batch=commit_and_crash)))


def run_aborting(history: list[Event], rules: Rules, recover: Callable[[Pipeline], None]) -> Pipeline:
    """Each batch is processed, lost before its commit, and processed again."""
    pipeline = Pipeline(rules.settings, 1, rules.calendar)
    for batch in batches(history):
        if isinstance(batch, Order):
            pipeline.controls.write(batch.key, value_of(batch))
            continue
        pipeline.process(as_json(batch))
        recover(pipeline)
        pipeline.process(as_json(batch))
        pipeline.commit()
    return pipeline


@pytest.mark.parametrize("recover", [Pipeline.crash, Pipeline.take_anew])
@examples(40)
@given(history=histories(), rules=rules())
def test_an_aborted_transaction_leaves_no_trace(
    recover: Callable[[Pipeline], None], history: list[Event], rules: Rules
) -> None:
    straight = run_agents(history, rules)
    assert_equal(result_of_agents(straight), result_of_agents(run_aborting(history, rules, recover)))


# -- controls -----------------------------------------------------------------------------------------------------


def read_at_once(history: list[Event]) -> list[Event]:
    """The history with all controls read before the first quote."""
    controls = [event for event in history if isinstance(event, Order)]
    return [*controls, *[event for event in history if not isinstance(event, Order)]]


@examples(40)
@given(history=histories(), rules=rules(), delays=st.lists(st.integers(0, 30), min_size=8, max_size=8))
def test_when_a_control_is_read_does_not_matter_if_its_time_is_still_to_come(
    history: list[Event], rules: Rules, delays: list[int]
) -> None:
    no_tombstones = [e for e in history if not isinstance(e, Order) or e.fields is not None]
    in_time = _with_times(no_tombstones, delays)
    at_once = run_agents(read_at_once(in_time), rules)
    assert_equal(result_of_agents(run_agents(in_time, rules)), result_of_agents(at_once))


def _with_times(history: list[Event], delays: list[int]) -> list[Event]:
    """Every control but the first ones holds from a time that nothing read before it has reached."""
    reached, number = 0, 0
    result: list[Event] = []
    for event in history:
        if isinstance(event, (Row, Tick)):
            reached = max(reached, event.ts)
        if isinstance(event, Order) and reached:
            assert event.fields is not None
            number += 1
            delay = delays[number % len(delays)] * 1_000_000_000
            event = replace(event, fields={**event.fields, "effective_from": reached + 1 + delay})
        result.append(event)
    return result
