"""Histories that once went wrong, one behaviour a test; all compare with the reference or with an undisturbed run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from agents.strategy.grid import LARGEST_PRICE, LATEST_TS
from agents.strategy.settings import Settings
from schemas.times import NS
from tests.pipeline.offline import NO_TIMESTAMP, Pipeline
from tests.pipeline.scripts import (
    START,
    Cut,
    Event,
    Order,
    Row,
    Rules,
    Tick,
    as_json,
    assert_equal,
    assert_same,
    batches,
    result_of_agents,
    result_of_reference,
    run_agents,
    run_reference,
    value_of,
)

QUICK = Rules(Settings(warmup_seconds=0.0))
CONTROL = {"max_position_dollars": 10_000.0}


def at(seconds: float) -> int:
    """Event time in ns."""
    return START + round(seconds * NS)


def a_row(seconds: float, mid: float = 100.0, symbol: str = "AAPL", bid_size: float = 500.0) -> Row:
    """A quote of a spread of 2 cents."""
    return Row(symbol, at(seconds), mid - 0.01, bid_size, mid + 0.01, 500.0)


def order(symbol: str = "AAPL", **fields: Any) -> Order:
    """A control."""
    return Order(symbol, {**CONTROL, **fields})


def signals_of(pipeline: Pipeline, symbol: str = "AAPL") -> list[tuple[float, str | None]]:
    """(seconds, reason) of a symbol's signals."""
    return [((s["ts"] - START) / NS, s["reason"]) for s in pipeline.published("signals") if s["symbol"] == symbol]


def check_against_reference(history: list[Event], rules: Rules) -> Pipeline:
    """Run a history both ways; the agents' side of it."""
    agents = run_agents(history, rules)
    assert_same(result_of_agents(agents), result_of_reference(run_reference(history, rules)))
    return agents


def test_a_time_constant_is_whole_nanoseconds() -> None:
    rules = Rules(Settings(warmup_seconds=0.0, tau_seconds=1 / 3, marks="every"))
    check_against_reference([order(), a_row(0), a_row(0.25, 101.0), a_row(0.3, 99.0)], rules)


def test_the_last_position_shows_the_latched_loss_limit() -> None:
    falling = [a_row(second, mid) for second, mid in ((0, 100.0), (5, 101.0), (9, 96.0), (19, 90.0), (25, 89.0))]
    agents = check_against_reference([order(max_loss_dollars=1.0), *falling, Tick(at(25), end=True)], QUICK)
    assert agents.latest("positions")["AAPL"]["state"] == "REDUCING"
    assert signals_of(agents)[-1] == (25.0, "END")


def test_an_end_leaves_no_mark_to_be_published_for_a_symbol_that_is_controlled_later() -> None:
    rules = Rules(Settings(warmup_seconds=0.0, mark_seconds=20))
    agents = check_against_reference([a_row(1), Tick(at(1), end=True), Cut(), order(), Tick(at(30))], rules)
    assert agents.published("preds") == []


def test_the_last_signal_is_never_before_its_quote() -> None:
    history = [order(), Cut(), order(effective_from=at(10)), a_row(1), a_row(15), Tick(at(5), end=True)]
    agents = check_against_reference(history, QUICK)
    assert signals_of(agents) == [(10.0, "WARMUP"), (15.0, "END")]
    assert agents.published("signals")[-1]["control"]["version"] == 1


# -- restoring ----------------------------------------------------------------------------------------------------


def many(prefix: str, number: int) -> list[str]:
    """Names of symbols."""
    return [f"{prefix}{i}" for i in range(number)]


def test_symbols_without_a_usable_quote_do_not_displace_others_in_the_table() -> None:
    unusable = [a_row(1, symbol=symbol, bid_size=0.0) for symbol in many("U", 100)]
    history: list[Event] = [
        order(),
        a_row(1),
        Cut(),
        *unusable,
        Cut(),
        order("LAST"),
        a_row(2, symbol="LAST"),
        Cut(),
        Cut(),
        *[a_row(11, symbol=symbol) for symbol in ("AAPL", "LAST")],
        Cut(),
        *[a_row(21, symbol=symbol) for symbol in ("AAPL", "LAST")],
    ]
    restored = run_agents(history, QUICK, after_batch=commit_and_crash_from(4))
    assert_equal(result_of_agents(run_agents(history, QUICK)), result_of_agents(restored))


def commit_and_crash_from(first: int) -> Callable[[Pipeline, int], None]:
    """A new process after each batch from that one on."""

    def after_batch(pipeline: Pipeline, number: int) -> None:
        pipeline.commit()
        if number >= first:
            pipeline.crash()

    return after_batch


def run_with_the_last_batch_aborted(history: list[Event], rules: Rules) -> Pipeline:
    """The last batch is processed, its transaction aborted, and processed again by the same process."""
    pipeline = Pipeline(rules.settings, 1, rules.calendar)
    *before, last = batches(history)
    for batch in before:
        if isinstance(batch, Order):
            pipeline.controls.write(batch.key, value_of(batch))
        else:
            pipeline.process(as_json(batch))
            pipeline.commit()
    assert not isinstance(last, Order)
    pipeline.process(as_json(last))
    pipeline.take_anew()
    pipeline.process(as_json(last))
    pipeline.commit()
    return pipeline


@pytest.mark.parametrize(
    "read_in_the_aborted_transaction",
    [
        pytest.param([Order("AAPL", None)], id="a removal"),
        pytest.param([order(state="HALTED"), order(effective_from=at(30))], id="two of which the second waits"),
        pytest.param([Order("AAPL", None), order(effective_from=at(30))], id="a removal and a return"),
    ],
)
def test_an_aborted_transaction_forgets_no_control_that_it_read(
    read_in_the_aborted_transaction: list[Event],
) -> None:
    history = [order(), a_row(1), Cut(), *read_in_the_aborted_transaction, *[a_row(s) for s in (11, 21, 31, 41)]]
    aborted = run_with_the_last_batch_aborted(history, QUICK)
    assert_equal(result_of_agents(run_agents(history, QUICK)), result_of_agents(aborted))


def test_an_aborted_transaction_puts_no_control_in_force_too_early() -> None:
    history = [a_row(1), Cut(), order(effective_from=at(30)), *[a_row(second) for second in (11, 21, 31, 41)]]
    aborted = run_with_the_last_batch_aborted(history, QUICK)
    assert_equal(result_of_agents(run_agents(history, QUICK)), result_of_agents(aborted))


def test_a_partition_that_is_behind_keeps_the_versions_of_star_that_it_still_needs() -> None:
    pipeline = Pipeline(Settings(warmup_seconds=0.0), 2)
    symbols = {0: "MSFT", 1: "AAPL"}
    for symbol in symbols.values():
        pipeline.controls.write(symbol, value_of(order(symbol)))
    pipeline.controls.write("*", value_of(Order("*", {"state": "HALTED"})))
    pipeline.controls.write("*", value_of(Order("*", {"state": "ACTIVE", "effective_from": at(30)})))
    for partition in (0, 1):
        rows = [a_row(second, symbol=symbols[partition]) for second in (1, 11, 21, 31, 41)]
        pipeline.process(as_json([*rows, Tick(at(41))]), partition)
        pipeline.commit()
    states = [
        [s["control"]["state"] for s in pipeline.published("signals") if s["symbol"] == n] for n in symbols.values()
    ]
    assert states[0] == states[1] == ["HALTED", "HALTED", "ACTIVE", "ACTIVE"]


def test_a_quote_of_a_time_or_price_beyond_reason_leaves_its_symbol_alive() -> None:
    absurd = [Row("AAPL", ts, 99.0, 1.0, 100.0, 1.0, NO_TIMESTAMP) for ts in ((1 << 63) - 1, LATEST_TS + 1)]
    absurd += [a_row(2, mid=1e308), a_row(3, mid=LARGEST_PRICE)]
    agents = check_against_reference([order(), a_row(1), *absurd, a_row(11), a_row(21)], QUICK)
    assert (agents.counters()["bad_ts"], agents.counters()["bad_price"]) == (2, 2)
    assert signals_of(agents) == [(10.0, "WARMUP"), (20.0, None)]


@pytest.mark.parametrize("side", [1, -1])
def test_a_position_of_whole_lots_stays_within_64_bits(side: int) -> None:
    rules = Rules(msgspec.structs.replace(Settings.original(), warmup_seconds=0.0))
    huge = order(max_position_dollars=9.9e9, lot_shares=9e9)
    path = [a_row(second, 1e-5 * (1 - side * 0.01 * second)) for second in range(1, 90, 9)]
    tiny = [Row("AAPL", row.ts, mid, 1.0, mid, 1.0) for row in path for mid in [row.bid + 0.01]]
    agents = check_against_reference([huge, *tiny], rules)
    positions = [side * execution["position_after"] for execution in agents.published("executions")]
    assert max(positions) == 3.6e10
    assert min(positions) >= 0
