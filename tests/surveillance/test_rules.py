"""What each rule raises and clears, record by record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from agents.surveillance import rules
from agents.surveillance.rows import MINUTE_NS, Row, Seen, Sums, add, window
from agents.surveillance.settings import QuietRule, SurveillanceSettings, ValueRule, WindowRule
from schemas.records import Alert, OutcomeReason, Severity, SignalReason
from schemas.times import NS
from tests.surveillance.worker import T0, execution, order, pnl, refused, signal_record, trade

SETTINGS = SurveillanceSettings(
    trade_count=WindowRule(above=3, minutes=2),
    turnover=WindowRule(above=1e9),
    drawdown=ValueRule(above=100, severity=Severity.CRITICAL),
    position=ValueRule(above=0.9),
    jump=ValueRule(above=4),
    silent_symbol=QuietRule(seconds=30),
)


def run(
    apply: Callable[..., tuple[Any, list[Alert]]], records: list[Any], settings: SurveillanceSettings = SETTINGS
) -> tuple[Any, list[Alert]]:
    row: Row | None = None
    published: list[Alert] = []
    for offset, record in enumerate(records):
        row, alerts = apply(row, record, Seen(0, offset, 0), settings)
        published += alerts
        # a row that cannot be read back from its changelog would stop every recovery
        assert msgspec.json.decode(msgspec.json.encode(row), type=type(row)) == row
    return row, published


def states(alerts: list[Alert]) -> list[tuple[str, str]]:
    return [(alert.rule, alert.state) for alert in alerts]


def test_trades_are_summed_by_minute_of_event_time_and_since_the_beginning() -> None:
    row, _ = run(rules.apply_trade, [trade("A", 0), trade("A", 59), trade("A", 60), trade("A", 61)])
    assert {start: sums.trades for start, sums in row.minutes.items()} == {T0: 2, T0 + MINUTE_NS: 2}
    assert row.minutes[T0].turnover == trade("A", 0).price + trade("A", 59).price
    assert (row.total.trades, row.at) == (4, 3)


def test_windows_are_pruned_by_event_time_not_by_the_clock_on_the_wall() -> None:
    settings = SurveillanceSettings(kept_minutes=5)
    row, _ = run(rules.apply_trade, [trade("A", 60 * minute) for minute in range(10)], settings)
    assert sorted(row.minutes) == [T0 + minute * MINUTE_NS for minute in range(5, 10)]
    assert row.total.trades == 10


def test_a_record_older_than_what_is_kept_counts_in_the_total_alone() -> None:
    minutes = add(add({}, T0 + 20 * MINUTE_NS, Sums(trades=1), 15), T0, Sums(trades=1), 15)
    assert sorted(minutes) == [T0 + 20 * MINUTE_NS]


def test_a_hopping_window_is_the_sum_of_its_minutes() -> None:
    minutes = {T0 + n * MINUTE_NS: Sums(trades=n + 1, refused={"LIMIT": 1}) for n in range(7)}
    assert window(minutes, T0 + 6 * MINUTE_NS, 5) == Sums(trades=3 + 4 + 5 + 6 + 7, refused={"LIMIT": 5})


def test_too_many_trades_are_raised_once_and_cleared_once() -> None:
    numbers = [0, 1, 2, 3, 4, 5, 130, 190]
    _, alerts = run(rules.apply_trade, [trade("A", number) for number in numbers])
    assert states(alerts) == [("trade_count", "RAISED"), ("trade_count", "CLEARED")]
    raised, cleared = alerts
    assert raised.id == cleared.id == f"A-trade_count-{T0 - MINUTE_NS}"
    assert (raised.value, raised.threshold, raised.window_start, raised.window_seconds) == (4, 3, T0 - MINUTE_NS, 120)
    assert (raised.ts, cleared.ts) == (T0 + 3 * NS, T0 + 130 * NS)


def test_turnover_above_its_bound_is_raised_once_and_cleared_once() -> None:
    settings = SurveillanceSettings(turnover=WindowRule(above=2))
    _, alerts = run(rules.apply_trade, [trade("A", number) for number in (0, 1, 2, 3, 400)], settings)
    assert states(alerts) == [("turnover", "RAISED"), ("turnover", "CLEARED")]
    raised, cleared = alerts
    assert raised.id == cleared.id == f"A-turnover-{T0 - 4 * MINUTE_NS}"
    assert raised.value == pytest.approx(2 + 1 / 1024)
    assert (raised.ts, cleared.ts) == (T0 + NS, T0 + 400 * NS)


def test_drawdown_counts_from_the_highest_net_and_needs_a_recovery_to_clear() -> None:
    nets = [0, 500, 401, 399, 380, 401, 419, 421, 300]
    _, alerts = run(rules.apply_pnl, [pnl("A", T0 + n * NS, net) for n, net in enumerate(nets)])
    assert [(a.state, a.ts - T0, a.value) for a in alerts] == [
        ("RAISED", 3 * NS, 101),
        ("CLEARED", 7 * NS, 79),
        ("RAISED", 8 * NS, 200),
    ]
    assert alerts[0].id != alerts[2].id
    assert alerts[0].severity is Severity.CRITICAL


def test_a_loss_from_the_start_is_a_drawdown() -> None:
    _, alerts = run(rules.apply_pnl, [pnl("A", T0, -50), pnl("A", T0 + NS, -150)])
    assert states(alerts) == [("drawdown", "RAISED")]


def test_a_position_near_its_limit_is_raised_long_and_short() -> None:
    for side in (1, -1):
        near = [order("A", T0, side * 90, 500), *(order("A", T0 + n * NS, side * 95, 50) for n in (1, 2))]
        row, alerts = run(rules.apply_order, near)
        assert states(alerts) == [("position", "RAISED")]
        assert row.limit == pytest.approx(1000)
        assert alerts[0].value == pytest.approx(0.95)


def test_a_position_beyond_its_limit_and_one_without_a_control() -> None:
    _, alerts = run(rules.apply_order, [order("A", T0, 100, None), order("A", T0, 100, 0), order("A", T0 + NS, 0, 0)])
    assert states(alerts) == [("position", "RAISED"), ("position", "CLEARED")]


def test_a_jump_is_a_distance_in_standard_deviations() -> None:
    mids = [10.0, 10.03, 10.05, 10.06, 10.035, 10.03]
    records = [signal_record("A", T0 + n * NS, mid=mid, sd=0.01) for n, mid in enumerate(mids)]
    _, alerts = run(rules.apply_signal, records)
    assert [(a.state, a.ts - T0) for a in alerts] == [("RAISED", 2 * NS), ("CLEARED", 5 * NS)]


@pytest.mark.parametrize(
    "changes", [{"sd": None}, {"sd": 0.0}, {"reason": SignalReason.WARMUP}], ids=["no sd", "sd 0", "cold"]
)
def test_a_cold_symbol_does_not_jump(changes: dict[str, Any]) -> None:
    row, alerts = run(rules.apply_signal, [signal_record("A", T0, mid=99.0, **changes)])
    assert alerts == [] and row.deviation is None


def test_refusals_are_counted_by_reason() -> None:
    reasons = [OutcomeReason.LIMIT, OutcomeReason.LIMIT, OutcomeReason.DUST]
    records = [refused("A", T0 + n * NS, reason) for n, reason in enumerate(reasons)]
    row, _ = run(rules.apply_execution, [*records, execution("A", T0 + 9 * NS)])
    assert (row.total.decisions, row.total.refused) == (4, {"LIMIT": 2, "DUST": 1})


def test_a_stale_symbol_is_raised_once_and_cleared_by_its_next_quote() -> None:
    quote = T0
    records = [
        execution("A", T0 + 10 * NS, quote_ts=quote),
        execution("A", T0 + 20 * NS, quote_ts=quote, reason=OutcomeReason.STALE),
        execution("A", T0 + 40 * NS, quote_ts=quote),
        execution("A", T0 + 50 * NS, quote_ts=T0 + 49 * NS),
    ]
    _, alerts = run(rules.apply_execution, records)
    assert [(a.rule, a.state, a.id) for a in alerts] == [
        ("silent_symbol", "RAISED", f"A-silent_symbol-{quote}"),
        ("silent_symbol", "CLEARED", f"A-silent_symbol-{quote}"),
    ]


@pytest.mark.parametrize("reason", [OutcomeReason.END, OutcomeReason.REMOVED])
def test_a_symbol_that_was_taken_out_is_not_silent(reason: OutcomeReason) -> None:
    _, alerts = run(rules.apply_execution, [execution("A", T0 + 500 * NS, quote_ts=T0, reason=reason)])
    assert alerts == []


def test_removal_ends_silence() -> None:
    stale = execution("A", T0 + 100 * NS, quote_ts=T0, reason=OutcomeReason.STALE)
    _, alerts = run(rules.apply_execution, [stale, execution("A", T0, quote_ts=T0, reason=OutcomeReason.REMOVED)])
    assert states(alerts) == [("silent_symbol", "RAISED"), ("silent_symbol", "CLEARED")]


def test_the_first_dead_letter_is_raised_and_more_of_them_are_not() -> None:
    row, alerts = run(rules.apply_dead_letter, ["from signals: malformed"] * 3)
    assert states(alerts) == [("dead_letters", "RAISED")]
    assert row.dead_letters == 3
    assert "from signals: malformed" in alerts[0].text


def test_a_rule_that_is_off_raises_nothing_and_clears_what_it_had_raised() -> None:
    off = msgspec.structs.replace(SETTINGS, drawdown=ValueRule(above=100, enabled=False))
    row, alerts = rules.apply_pnl(None, pnl("A", T0, -500), Seen(0, 0, 0), SETTINGS)
    assert states(alerts) == [("drawdown", "RAISED")]
    _, alerts = rules.apply_pnl(row, pnl("A", T0 + NS, -600), Seen(0, 1, 0), off)
    assert states(alerts) == [("drawdown", "CLEARED")]
    assert rules.apply_pnl(None, pnl("A", T0, -500), Seen(0, 0, 0), off)[1] == []


def test_the_same_records_give_the_same_alerts() -> None:
    records = [trade("A", n) for n in range(10)]
    assert run(rules.apply_trade, records)[1] == run(rules.apply_trade, records)[1] != []
