"""The rules from quotes to signals on the reference, one behaviour a test, worked by hand."""

import math
from typing import Any

import pytest

from tests.strategy.reference import DAY, Reference
from tests.strategy.reference_settings import SECOND, Record, ReferenceSettings

START = 1_767_623_400 * SECOND  # a decision time
CONTROL = {"max_position_dollars": 10_000.0}
FLAT_SECONDS = range(1, 70, 5)  # 1, 6, ... 66: warm at the decision time 70


def at(seconds: float) -> int:
    """Event time in ns, ``seconds`` after the start."""
    return START + round(seconds * SECOND)


def seconds(ts: int) -> float:
    """The reverse of ``at``."""
    return (ts - START) / SECOND


def new_desk(symbols: tuple[str, ...] = ("AAPL",), sessions: Any = (), **settings: Any) -> Reference:
    """A desk with a plain control (version 0) for each symbol."""
    desk = Reference(ReferenceSettings(**settings), sessions=sessions)
    for symbol in symbols:
        desk.control(symbol, 0, dict(CONTROL))
    return desk


def give(desk: Reference, when: float, mid: float = 100.0, symbol: str = "AAPL", size: float = 500.0) -> None:
    """A quote of a spread of 2 cents."""
    desk.quote(symbol, at(when), mid - 0.01, size, mid + 0.01, size)


def warmed(mid_at_69: float = 100.0, **settings: Any) -> Reference:
    """A desk whose AAPL has been flat at 100 for long enough, and has a last quote at 69."""
    desk = new_desk(**settings)
    for when in FLAT_SECONDS:
        give(desk, when)
    give(desk, 69, mid_at_69)
    return desk


def rows_of(desk: Reference, symbol: str = "AAPL") -> list[tuple[float, str, str | None]]:
    """(decision time in seconds, verdict, reason) of a symbol's signals."""
    return [(seconds(s["ts"]), s["verdict"], s["reason"]) for s in desk.signals if s["symbol"] == symbol]


def times(records: list[Record]) -> list[float]:
    return [seconds(record["ts"]) for record in records]


# Usable quotes


@pytest.mark.parametrize(
    ("reason", "row"),
    [
        ("bad_ts", (at(0) // SECOND, 99.0, 1.0, 101.0, 1.0)),
        ("bad_ts", (-1, math.nan, 0.0, 0.0, 0.0)),
        ("not_finite", (at(0), math.nan, 0.0, 101.0, 1.0)),
        ("not_finite", (at(0), 99.0, 1.0, 101.0, math.inf)),
        ("bad_price", (at(0), 0.0, 0.0, 101.0, 1.0)),
        ("bad_price", (at(0), 99.0, 1.0, -101.0, 1.0)),
        ("bad_size", (at(0), 99.0, 1.0, 101.0, 0.0)),
    ],
)
def test_an_unusable_row_counts_its_first_reason(reason: str, row: tuple[Any, ...]) -> None:
    desk = new_desk()
    desk.quote("AAPL", *row)
    assert desk.counts == {reason: 1}
    assert desk.symbols == {}


def test_a_quote_too_far_ahead_of_its_kafka_timestamp_is_of_the_future() -> None:
    desk = new_desk()
    desk.quote("AAPL", at(5), 99.0, 1.0, 101.0, 1.0, kafka_ts_ns=at(0))
    desk.quote("AAPL", at(5) + 1, 99.0, 1.0, 101.0, 1.0, kafka_ts_ns=at(0))
    assert desk.counts["used"] == desk.counts["future"] == 1


def test_a_crossed_quote_is_used_and_counted() -> None:
    desk = new_desk()
    desk.quote("AAPL", at(0), 101.0, 1.0, 99.0, 1.0)
    desk.quote("AAPL", at(1), 100.0, 1.0, 100.0, 1.0)
    assert (desk.counts["used"], desk.counts["crossed"]) == (2, 1)


def test_late_is_before_the_symbols_own_last_quote() -> None:
    desk = new_desk()
    give(desk, 2, symbol="AAPL")
    give(desk, 1, symbol="AAPL")
    give(desk, 1, symbol="GOOG")
    give(desk, 2, symbol="AAPL")
    assert (desk.counts["used"], desk.counts["late"]) == (3, 1)


def test_late_is_before_the_partitions_clock_and_equal_is_allowed() -> None:
    desk = new_desk()
    desk.clock(at(5))
    give(desk, 4.9)
    give(desk, 5)
    assert (desk.counts["used"], desk.counts["late"]) == (1, 1)


# Moments


def test_moments_of_two_quotes_by_hand() -> None:
    desk = new_desk(marks="every")
    give(desk, 0, 100.0)
    give(desk, 60, 110.0)
    first, second = desk.marks
    a = math.exp(-1)
    assert (first["ema"], math.isnan(first["sd"]), math.isnan(first["buy_below"])) == (100.0, True, True)
    assert second["ema"] == pytest.approx(a * 100 + (1 - a) * 110, rel=1e-15)
    assert second["sd"] == pytest.approx(math.sqrt(a * (1 - a) * 100), rel=1e-15)
    assert second["buy_below"] == second["ema"] - second["sd"]
    assert second["sell_above"] == second["ema"] + second["sd"]


def test_an_equal_time_changes_no_moment_but_the_quote() -> None:
    desk = new_desk(marks="every")
    give(desk, 0, 100.0)
    give(desk, 0, 110.0)
    last = desk.marks[-1]
    assert (last["ema"], last["sd"], last["mid"]) == (100.0, 0.0, 110.0)


def test_the_band_is_k_deviations_wide() -> None:
    desk = new_desk(marks="every", band_sd=2.5)
    give(desk, 0, 100.0)
    give(desk, 60, 110.0)
    last = desk.marks[-1]
    assert last["sell_above"] == last["ema"] + 2.5 * last["sd"]


# Decisions


def test_warm_is_more_than_the_warmup_after_the_first_quote() -> None:
    exactly, more = new_desk(), new_desk()
    for desk, last in ((exactly, 69.0), (more, 69.000000001)):
        give(desk, 9)
        give(desk, last)
        desk.clock(at(70))
    assert rows_of(exactly)[-1] == (70, "HOLD", "WARMUP")
    assert rows_of(more)[-1] == (70, "HOLD", None)


def test_a_gap_restarts_the_warmup_but_not_the_moments() -> None:
    desk = warmed()
    give(desk, 69 + 300.000000001)
    desk.clock(at(380))
    assert rows_of(desk)[-1] == (380, "HOLD", "WARMUP")
    assert desk.symbols["AAPL"].moments.sd == 0.0
    give(desk, 425)
    give(desk, 429.1)
    desk.clock(at(430))
    assert rows_of(desk)[-1] == (430, "HOLD", None)


def test_a_gap_of_exactly_five_taus_is_none() -> None:
    desk = warmed()
    give(desk, 69 + 300)
    desk.clock(at(380))
    assert rows_of(desk)[-1] == (380, "HOLD", None)


def test_the_original_knows_no_gap() -> None:
    desk = Reference(ReferenceSettings.original())
    desk.control("AAPL", 0, dict(CONTROL))
    give(desk, 1)
    give(desk, 5000)
    desk.clock(at(5010))
    assert rows_of(desk)[-1] == (5010, "HOLD", None)


def test_a_quote_at_the_decision_time_is_not_in_it() -> None:
    desk = warmed()
    give(desk, 70, 90.0)
    assert rows_of(desk)[-1] == (70, "HOLD", None)
    assert desk.signals[-1]["quote_ts"] == at(69)
    give(desk, 80)
    assert rows_of(desk)[-1] == (80, "BUY", None)


def test_the_first_decision_is_strictly_after_the_first_quote() -> None:
    desk = new_desk()
    give(desk, 10)
    give(desk, 35)
    assert times(desk.signals) == [20, 30]


def test_each_decision_time_fires_once_whoever_comes_first() -> None:
    desk = new_desk()
    give(desk, 1)
    desk.clock(at(10))
    give(desk, 10)
    give(desk, 20)
    desk.clock(at(20))
    assert times(desk.signals) == [10, 20]


def test_rows_of_other_symbols_fire_nothing() -> None:
    desk = new_desk(("AAPL", "GOOG"))
    give(desk, 1, symbol="AAPL")
    give(desk, 55, symbol="GOOG")
    assert desk.signals == []


def test_a_late_row_fires_nothing() -> None:
    desk = new_desk()
    give(desk, 1)
    desk.quote("AAPL", at(15), 0.0, 1.0, 1.0, 1.0)
    assert desk.signals == []


def test_a_fall_below_the_band_buys_at_the_ask_and_a_rise_sells_at_the_bid() -> None:
    fallen, risen = warmed(90.0), warmed(110.0)
    for desk in (fallen, risen):
        desk.clock(at(70))
    assert rows_of(fallen)[-1] == (70, "BUY", None)
    assert rows_of(risen)[-1] == (70, "SELL", None)
    bought, sold = fallen.trades[0], risen.trades[0]
    assert (bought["id"], bought["price"], bought["shares"]) == (f"AAPL-{at(70)}", 90.01, 100.0)
    assert (sold["side"], sold["price"], sold["shares"]) == ("SELL", 109.99, 90.0)  # 10000 // 109.99


def test_a_cold_symbol_still_reports_its_flags() -> None:
    desk = new_desk()
    give(desk, 1, 100.0)
    give(desk, 6, 90.0)
    desk.clock(at(10))
    assert rows_of(desk) == [(10, "HOLD", "WARMUP")]
    assert desk.signals[0]["buy"] is True


def test_a_crossed_quote_may_raise_both_flags_and_buys() -> None:
    desk = warmed()
    desk.quote("AAPL", at(69.5), 110.0, 1.0, 90.0, 1.0)
    desk.clock(at(70))
    assert (desk.signals[-1]["buy"], desk.signals[-1]["sell"]) == (True, True)
    assert rows_of(desk)[-1] == (70, "BUY", None)


def test_a_stale_symbol_has_one_row_until_its_next_quote() -> None:
    desk = warmed(90.0)
    desk.clock(at(400))
    tail = [row for row in rows_of(desk) if row[0] >= 120]
    assert tail == [(120, "BUY", None), (130, "HOLD", "STALE")]
    give(desk, 400)
    desk.clock(at(500))
    assert [row[0] for row in rows_of(desk) if row[0] > 130] == [410, 420, 430, 440, 450, 460, 470]
    assert rows_of(desk)[-1] == (470, "HOLD", "STALE")


def test_a_quote_of_exactly_the_greatest_age_is_not_stale() -> None:
    desk = new_desk()
    give(desk, 10)
    desk.clock(at(200))
    assert rows_of(desk)[-2:] == [(70, "HOLD", "WARMUP"), (80, "HOLD", "STALE")]


def test_the_original_decides_on_old_quotes_for_a_day() -> None:
    desk = Reference(ReferenceSettings.original())
    desk.control("AAPL", 0, dict(CONTROL))
    give(desk, 5)
    desk.clock(at(5) + 3 * DAY)
    assert len(desk.signals) == DAY // (10 * SECOND)
    assert desk.signals[-1]["ts"] == at(0) + DAY


def test_a_year_of_silence_is_skipped() -> None:
    desk = new_desk()
    give(desk, 5)
    desk.quote("AAPL", at(5) + 365 * DAY, 99.0, 1.0, 101.0, 1.0)
    assert rows_of(desk)[-1] == (70, "HOLD", "STALE")
    desk.clock(at(10) + 365 * DAY)
    assert desk.signals[-1]["ts"] == at(10) + 365 * DAY


# Clocks


def test_a_clock_fires_every_symbol_in_order() -> None:
    desk = new_desk(("AAPL", "GOOG"))
    give(desk, 1, symbol="GOOG")
    give(desk, 12, symbol="AAPL")
    desk.clock(at(30))
    assert [row[0] for row in rows_of(desk, "GOOG")] == [10, 20, 30]
    assert [row[0] for row in rows_of(desk, "AAPL")] == [20, 30]


def test_the_clock_of_two_feeds_is_the_lesser() -> None:
    desk = new_desk()
    desk.clock(at(0), "one")
    desk.clock(at(0), "two")
    give(desk, 1)
    desk.clock(at(30), "one")
    assert desk.signals == []
    desk.clock(at(10), "two")
    assert times(desk.signals) == [10]


def test_a_feed_that_ends_no_longer_holds_the_clock() -> None:
    desk = new_desk()
    desk.clock(at(0), "one")
    desk.clock(at(0), "two")
    give(desk, 1)
    desk.clock(at(30), "one")
    desk.clock(at(5), "two", end=True)
    assert times(desk.signals) == [10, 20, 30]
    assert all(signal["reason"] != "END" for signal in desk.signals)


def test_the_clock_never_goes_back() -> None:
    desk = new_desk()
    desk.clock(at(30), "one")
    desk.clock(at(29), "one")
    assert desk.counts["clock_back"] == 1
    desk.clock(at(10), "two")
    assert (desk.counts["clock"], desk.partition_clock.now) == (2, at(30))
    give(desk, 29)
    assert desk.counts["late"] == 1


def test_a_feed_begins_again_after_its_end() -> None:
    desk = new_desk()
    desk.clock(at(30), "one", end=True)
    desk.clock(at(20), "one")
    assert (desk.counts["clock"], desk.counts["clock_back"]) == (2, 0)
    assert desk.partition_clock.now == at(30)


def test_an_implausible_clock_is_skipped() -> None:
    desk = new_desk()
    desk.clock(1_767_623_400)
    desk.clock(at(6), kafka_ts_ns=at(0))
    assert desk.counts == {"bad_ts": 1, "future": 1}
    assert desk.partition_clock.now == 0


# The end


def test_the_end_publishes_a_last_mark_and_signal_without_a_fill() -> None:
    desk = warmed()
    give(desk, 69.9, 90.0)
    desk.clock(at(69.9), end=True)
    assert times(desk.marks)[-1] == 69.9
    assert rows_of(desk)[-1] == (69.9, "HOLD", "END")
    assert desk.signals[-1]["buy"] is True
    assert (desk.executions[-1]["outcome"], desk.executions[-1]["reason"]) == ("NONE", "END")
    assert desk.trades == []


def test_the_end_comes_after_a_decision_at_the_same_time() -> None:
    desk = warmed(90.0)
    desk.clock(at(70), end=True)
    assert rows_of(desk)[-2:] == [(70, "BUY", None), (70, "HOLD", "END")]


def test_the_end_includes_silent_symbols_and_no_stranger() -> None:
    desk = new_desk(("AAPL", "GOOG", "BAC"))
    give(desk, 1, symbol="AAPL")
    give(desk, 1, symbol="ZZZ")
    give(desk, 3000, symbol="GOOG")
    desk.clock(at(3000), end=True)
    assert [s["symbol"] for s in desk.signals if s["reason"] == "END"] == ["AAPL", "GOOG"]


def test_only_the_end_of_the_last_feed_is_the_end() -> None:
    desk = new_desk()
    desk.clock(at(0), "one")
    desk.clock(at(0), "two")
    give(desk, 5)
    desk.clock(at(6), "one", end=True)
    assert desk.signals == []
    desk.clock(at(5), "two", end=True)
    assert rows_of(desk) == [(6, "HOLD", "END")]


# Marks


def test_marks_come_once_a_second_with_the_last_quote_before_it() -> None:
    desk = new_desk()
    for when in (0.2, 0.9, 1.0, 1.5, 5.5):
        give(desk, when)
    assert times(desk.marks) == [0.9, 1.5]
    desk.clock(at(20))
    assert times(desk.marks) == [0.9, 1.5, 5.5]


def test_the_end_marks_only_what_is_new() -> None:
    desk = new_desk()
    give(desk, 0.5)
    desk.clock(at(1), end=True)
    assert times(desk.marks) == [0.5]


def test_marks_of_every_quote_and_none() -> None:
    every, off = new_desk(marks="every"), new_desk(marks="off")
    for desk in (every, off):
        give(desk, 0.2)
        give(desk, 0.2)
        desk.clock(at(5), end=True)
    assert times(every.marks) == [0.2, 0.2]
    assert off.marks == []


def test_only_symbols_of_the_universe_have_marks() -> None:
    desk = new_desk()
    give(desk, 0.5, symbol="ZZZ")
    desk.clock(at(5), end=True)
    assert desk.marks == []


# Controls


def test_a_symbol_added_later_is_warm_at_once() -> None:
    desk = new_desk(())
    for when in FLAT_SECONDS:
        give(desk, when)
    desk.control("AAPL", 0, dict(CONTROL))
    desk.clock(at(70))
    assert rows_of(desk) == [(70, "HOLD", None)]


def test_a_control_holds_from_its_effective_time() -> None:
    desk = new_desk()
    desk.control("AAPL", 1, CONTROL | {"effective_from": at(20)})
    give(desk, 1)
    desk.clock(at(30))
    assert [(seconds(s["ts"]), s["control"]["version"]) for s in desk.signals] == [(10, 0), (20, 1), (30, 1)]


def test_the_newest_version_that_holds_wins_over_a_later_effective_time() -> None:
    desk = new_desk()
    desk.control("AAPL", 1, CONTROL | {"effective_from": at(20)})
    desk.control("AAPL", 2, CONTROL | {"effective_from": at(10)})
    give(desk, 1)
    desk.clock(at(30))
    assert [s["control"]["version"] for s in desk.signals] == [2, 2, 2]


def test_a_control_without_a_time_holds_from_the_next_decision() -> None:
    desk = new_desk()
    give(desk, 1)
    desk.clock(at(10))
    desk.control("AAPL", 7, dict(CONTROL))
    desk.clock(at(20))
    assert [s["control"]["version"] for s in desk.signals] == [0, 7]


def test_a_control_is_published_whole_with_its_defaults() -> None:
    desk = new_desk(())
    desk.control("AAPL", 3, {"max_position_dollars": 5.0, "size_step": 0.5})
    give(desk, 1)
    desk.clock(at(10))
    assert desk.signals[0]["control"] == {
        "version": 3,
        "star_version": None,
        "max_position_dollars": 5.0,
        "lot_shares": 100.0,
        "size_step": 0.5,
        "min_fill_shares": 5.0,
        "max_loss_dollars": None,
        "allow_short": True,
        "state": "ACTIVE",
    }


@pytest.mark.parametrize(
    ("own", "star", "applied"),
    [
        ("ACTIVE", "HALTED", "HALTED"),
        ("CLOSING", "HALTED", "HALTED"),
        ("CLOSING", "REDUCING", "CLOSING"),
        ("REDUCING", "ACTIVE", "REDUCING"),
    ],
)
def test_the_stricter_of_star_and_own_state_holds(own: str, star: str, applied: str) -> None:
    desk = new_desk(())
    desk.control("AAPL", 0, CONTROL | {"state": own})
    desk.control("*", 1, {"state": star})
    give(desk, 1)
    desk.clock(at(10))
    control = desk.signals[0]["control"]
    assert (control["state"], control["version"], control["star_version"]) == (applied, 0, 1)


def test_a_star_waits_for_its_time_and_is_lifted_by_a_tombstone() -> None:
    desk = new_desk()
    desk.control("*", 1, {"state": "HALTED", "effective_from": at(20)})
    give(desk, 1)
    desk.clock(at(20))
    desk.control("*", 2, None)
    desk.clock(at(30))
    assert [s["control"]["state"] for s in desk.signals] == ["ACTIVE", "HALTED", "ACTIVE"]
    assert [s["control"]["star_version"] for s in desk.signals] == [None, 1, None]


def test_a_star_adds_nobody_to_the_universe() -> None:
    desk = new_desk(())
    desk.control("*", 0, {"state": "ACTIVE"})
    give(desk, 1)
    desk.clock(at(10), end=True)
    assert desk.signals == []


def test_a_removed_symbol_has_one_last_row_and_keeps_its_position() -> None:
    desk = warmed(90.0)
    desk.clock(at(70))
    desk.control("AAPL", 5, None)
    give(desk, 75, 95.0)
    desk.clock(at(200), end=True)
    assert rows_of(desk)[-2:] == [(70, "BUY", None), (80, "HOLD", "REMOVED")]
    assert desk.signals[-1]["control"]["version"] == 0
    assert (desk.executions[-1]["outcome"], desk.executions[-1]["reason"]) == ("NONE", "REMOVED")
    assert desk.positions["AAPL"]["shares"] == 100.0
    assert desk.pnl["AAPL"]["mark"] == 95.0
    assert times(desk.marks)[-1] == 69


def test_a_stale_symbol_is_removed_with_a_row_too() -> None:
    desk = warmed()
    desk.clock(at(200))
    desk.control("AAPL", 5, None)
    desk.clock(at(300))
    assert rows_of(desk)[-2:] == [(130, "HOLD", "STALE"), (210, "HOLD", "REMOVED")]


def test_a_symbol_removed_and_added_between_two_decisions_never_left() -> None:
    desk = new_desk()
    give(desk, 1)
    desk.clock(at(10))
    desk.control("AAPL", 1, None)
    desk.control("AAPL", 2, dict(CONTROL))
    desk.clock(at(20))
    assert [s["reason"] for s in desk.signals] == ["WARMUP", "WARMUP"]
    assert [s["control"]["version"] for s in desk.signals] == [0, 2]


# Flattening


def test_a_closing_control_flattens_a_silent_symbol_at_its_last_quote() -> None:
    desk = warmed(90.0)
    desk.clock(at(200))
    desk.control("AAPL", 1, CONTROL | {"state": "CLOSING"})
    desk.clock(at(220))
    assert rows_of(desk)[-2:] == [(210, "HOLD", "STALE"), (220, "HOLD", "STALE")]
    trade = desk.trades[-1]
    assert (trade["ts"], trade["side"], trade["price"]) == (at(210), "SELL", 89.99)
    assert (trade["reason"], trade["position_after"]) == ("CLOSING", 0.0)


def test_the_session_closes_out_silent_symbols_before_its_close() -> None:
    hours = [(at(-3600), at(900))]
    desk = warmed(90.0, sessions=hours, session="XNYS")
    desk.clock(at(1000))
    close_out = desk.trades[-1]
    assert (close_out["ts"], close_out["reason"], close_out["price"]) == (at(300), "SESSION_CLOSE", 89.99)
    assert desk.positions["AAPL"]["shares"] == 0.0
    in_session = [(seconds(s["ts"]), s["session"]) for s in desk.signals]
    assert (130, "OPEN") in in_session
    assert [row for row in in_session if row[0] > 130] == [(10 * n, "CLOSING") for n in range(30, 90)]


def test_a_session_includes_its_open_and_not_its_close() -> None:
    desk = new_desk(sessions=[(at(20), at(640))], session="XNYS", max_quote_age_seconds=None)
    give(desk, 1)
    desk.clock(at(650))
    sessions = {seconds(s["ts"]): s["session"] for s in desk.signals}
    assert [sessions[when] for when in (10, 20, 30, 40)] == ["CLOSED", "OPEN", "OPEN", "CLOSING"]
    assert [sessions[when] for when in (630, 640)] == ["CLOSING", "CLOSED"]


def test_no_trade_outside_the_session() -> None:
    desk = warmed(90.0, sessions=[(at(71), at(5000))], session="XNYS")
    desk.clock(at(80))
    assert [s["session"] for s in desk.signals[-2:]] == ["CLOSED", "OPEN"]
    assert [(e["outcome"], e["reason"]) for e in desk.executions[-2:]] == [
        ("REFUSED", "SESSION"),
        ("FILLED", None),
    ]


def test_without_a_calendar_there_is_no_session() -> None:
    desk = warmed(90.0)
    desk.clock(at(70))
    assert desk.signals[-1]["session"] is None
