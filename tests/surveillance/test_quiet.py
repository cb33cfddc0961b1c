"""What no record tells: silent symbols, a stopped grid, windows that have passed, dead letters that ceased."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pytest
from faust.types import TP

from agents.surveillance import quiet, rules, watch
from agents.surveillance.rows import ExecutionsRow, PartitionRow, Seen, SignalsRow, TradesRow
from agents.surveillance.settings import QuietRule, SurveillanceSettings, WindowRule
from agents.surveillance.watch import NO_PARTITION, Watch
from schemas.records import OutcomeReason, SessionState, SignalReason
from schemas.times import NS
from tests.surveillance.worker import T0, execution, signal_record, trade

SETTINGS = SurveillanceSettings(
    trade_count=WindowRule(above=2),
    silent_symbol=QuietRule(seconds=60),
    grid=QuietRule(seconds=30),
    dead_letters=QuietRule(seconds=300),
)
NOW_MS = 10_000_000


def decided(symbol: str, quote_ts: int, arrived: int, reason: OutcomeReason | None = None) -> ExecutionsRow:
    record = execution(symbol, quote_ts + 1, quote_ts=quote_ts, reason=reason)
    return rules.apply_execution(None, record, Seen(0, 0, arrived), SETTINGS)[0]


def signalled(reason: SignalReason | None = None, session: SessionState | None = None) -> SignalsRow:
    record = signal_record("A", T0, reason=reason, session=session)
    return rules.apply_signal(None, record, Seen(0, 0, NOW_MS), SETTINGS)[0]


def test_a_symbol_that_others_have_left_behind_is_silent_once() -> None:
    rows = {"A": decided("A", T0, NOW_MS), "B": decided("B", T0 + 61 * NS, NOW_MS + 60_000)}
    [(symbol, after, alerts)] = quiet.silent_symbols(rows, SETTINGS)
    assert (symbol, [alert.id for alert in alerts]) == ("A", [f"A-silent_symbol-{T0}"])
    assert alerts[0].ts == T0 + 60 * NS, "the time at which it became silent, whenever that is noticed"
    assert list(quiet.silent_symbols(rows | {"A": after}, SETTINGS)) == []


def test_all_symbols_at_rest_are_not_silent() -> None:
    rows = {"A": decided("A", T0, NOW_MS), "B": decided("B", T0 + 50 * NS, NOW_MS + 600_000)}
    assert list(quiet.silent_symbols(rows, SETTINGS)) == []


def test_a_fast_replay_makes_nobody_silent() -> None:
    rows = {"A": decided("A", T0, NOW_MS), "B": decided("B", T0 + 3600 * NS, NOW_MS + 200)}
    assert list(quiet.silent_symbols(rows, SETTINGS)) == []


def test_a_symbol_that_has_ended_is_not_silent() -> None:
    rows = {"A": decided("A", T0, NOW_MS, OutcomeReason.END), "B": decided("B", T0 + 100 * NS, NOW_MS + 100_000)}
    assert list(quiet.silent_symbols(rows, SETTINGS)) == []


def test_windows_that_event_time_has_left_behind_are_cleared_without_a_trade() -> None:
    row: TradesRow | None = None
    for number in range(3):
        row, _ = rules.apply_trade(row, trade("A", number), Seen(0, number, 0), SETTINGS)
    assert row is not None and "trade_count" in row.open
    assert list(quiet.passed_windows({"A": row}, T0 + 200 * NS, SETTINGS)) == []
    [(_, after, alerts)] = quiet.passed_windows({"A": row}, T0 + 360 * NS, SETTINGS)
    assert [alert.state for alert in alerts] == ["CLEARED"] and after.open == {}
    assert after.at == row.at


def test_a_partition_without_decisions_for_a_while_is_raised_once_and_cleared_once() -> None:
    signals = {"A": signalled()}
    executions = {"A": decided("A", T0, NOW_MS)}
    assert list(quiet.partition(1, None, signals, executions, NOW_MS + 30_000, 0, SETTINGS)) == []
    [(key, stopped, alerts)] = quiet.partition(1, None, signals, executions, NOW_MS + 30_001, 0, SETTINGS)
    assert (key, [(a.id, a.state, a.symbol) for a in alerts]) == (
        "1",
        [(f"partition-1-grid-{T0 + 1}", "RAISED", None)],
    )
    assert isinstance(stopped, PartitionRow)
    assert list(quiet.partition(1, stopped, signals, executions, NOW_MS + 99_000, 0, SETTINGS)) == []
    again = {"A": decided("A", T0 + NS, NOW_MS + 99_500)}
    [(_, going, alerts)] = quiet.partition(1, stopped, signals, again, NOW_MS + 100_000, 0, SETTINGS)
    assert [(a.id, a.state) for a in alerts] == [(f"partition-1-grid-{T0 + 1}", "CLEARED")] and going.open == {}


RESTING = {
    "ended": signalled(SignalReason.END),
    "removed": signalled(SignalReason.REMOVED),
    "stale": signalled(SignalReason.STALE),
    "out of session": signalled(session=SessionState.CLOSED),
}


@pytest.mark.parametrize("resting", RESTING.values(), ids=RESTING)
def test_a_partition_that_has_stopped_is_at_work_again_only_when_an_execution_comes(resting: SignalsRow) -> None:
    """Its symbols may come to rest meanwhile, and leave it again: that is the same alert, not a second of its id."""
    executions = {"A": decided("A", T0, NOW_MS)}
    [(_, row, alerts)] = quiet.partition(1, None, {"A": signalled()}, executions, NOW_MS + 31_000, 0, SETTINGS)
    assert isinstance(row, PartitionRow) and [a.state for a in alerts] == ["RAISED"]
    for signal in (resting, signalled()):
        assert list(quiet.partition(1, row, {"A": signal}, executions, NOW_MS + 99_000, 0, SETTINGS)) == []
    of_the_rest = {"A": decided("A", T0 + NS, NOW_MS + 100_000)}
    [(_, after, alerts)] = quiet.partition(1, row, {"A": resting}, of_the_rest, NOW_MS + 999_000, 0, SETTINGS)
    assert [(a.id, a.state) for a in alerts] == [(f"partition-1-grid-{T0 + 1}", "CLEARED")] and after.open == {}


def test_a_partition_that_stops_again_is_another_occurrence_whatever_the_event_times_of_its_feeds() -> None:
    signals, row, told = {"A": signalled(), "B": signalled()}, None, []
    executions = {"A": decided("A", T0 + 9999 * NS, NOW_MS)}
    for number in range(1, 4):
        now_ms = NOW_MS + number * 60_000
        executions["B"] = decided("B", T0 + number * NS, now_ms)
        for judged_ms in (now_ms, now_ms + 31_000):
            for _, after, alerts in quiet.partition(1, row, signals, executions, judged_ms, 0, SETTINGS):
                assert isinstance(after, PartitionRow)
                row, told = after, [*told, *((a.id, a.state) for a in alerts)]
    ids = [f"partition-1-grid-{T0 + number * NS + 1}" for number in range(1, 4)]
    assert told == [*((id, state) for id in ids[:2] for state in ("RAISED", "CLEARED")), (ids[2], "RAISED")]


def test_surveillance_that_has_just_started_waits_before_it_calls_the_grid_stopped() -> None:
    executions = {"A": decided("A", T0, NOW_MS)}
    late = NOW_MS + 3_600_000
    assert list(quiet.partition(0, None, {"A": signalled()}, executions, late + 29_000, late, SETTINGS)) == []
    assert list(quiet.partition(0, None, {"A": signalled()}, executions, late + 31_000, late, SETTINGS)) != []


@pytest.mark.parametrize(
    "signals",
    [{}, *({"A": signal} for signal in RESTING.values())],
    ids=["no symbols", *RESTING],
)
def test_a_desk_that_rests_has_not_stopped(signals: dict[str, SignalsRow]) -> None:
    assert list(quiet.partition(0, None, signals, {}, NOW_MS + 3_600_000, NOW_MS, SETTINGS)) == []


def test_dead_letters_that_have_ceased_are_cleared() -> None:
    row, raised = rules.apply_dead_letter(None, "x", Seen(1, 7, NOW_MS), SETTINGS)
    assert list(quiet.partition(1, row, {}, {}, NOW_MS + 299_000, 0, SETTINGS)) == []
    [(_, after, alerts)] = quiet.partition(1, row, {}, {}, NOW_MS + 301_000, 0, SETTINGS)
    assert [(a.id, a.state) for a in alerts] == [(raised[0].id, "CLEARED")]
    assert (after.open, after.at, after.dead_letters) == ({}, 7, 1)


def test_a_worker_without_partitions_tells_no_lag_of_those_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "TICK_SECONDS", 0)
    watching = Watch(Mock(ready=lambda: NO_PARTITION))
    watching.lags = {TP("trades", 0): 7}

    async def until_forgotten() -> None:
        running = asyncio.create_task(watching.run())
        while watching.lags:
            await asyncio.sleep(0)
        running.cancel()

    asyncio.run(asyncio.wait_for(until_forgotten(), 10))
