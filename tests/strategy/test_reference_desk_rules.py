"""The rules of execution and of the ledger on the reference, one behaviour a test, worked by hand."""

import random
from typing import Any

import pytest

from tests.strategy.reference_desk import Desk, Ledger
from tests.strategy.reference_settings import Record, ReferenceSettings, units

PRICE = 50.0


def control(version: int = 1, limit: float = 10_000.0, **fields: Any) -> Record:
    """A control as a signal carries it."""
    defaults = {
        "star_version": None,
        "lot_shares": 100.0,
        "size_step": 1.0,
        "min_fill_shares": 10.0,
        "max_loss_dollars": None,
        "allow_short": True,
        "state": "ACTIVE",
    }
    return {"version": version, "max_position_dollars": limit} | defaults | fields


class Trader:
    """A desk that is given one signal of AAPL after the other, 10 s apart."""

    def __init__(self, **settings: Any) -> None:
        self.desk = Desk(ReferenceSettings(**settings))
        self.ts = 0

    def signal(
        self,
        verdict: str,
        rule: Record | None,
        price: float = PRICE,
        size: float = 1000.0,
        reason: str | None = None,
        session: str | None = None,
        **flags: Any,
    ) -> Record:
        """The execution that comes of a signal, bid = ask = mid = price."""
        self.ts += 10
        quoted = {"bid": price, "ask": price, "mid": price, "bid_size": size, "ask_size": size}
        flagged = {"buy": verdict == "BUY", "sell": verdict == "SELL"} | flags
        when = {"symbol": "AAPL", "ts": self.ts, "quote_ts": self.ts - 1}
        verdicts = {"verdict": verdict, "reason": reason, "session": session, "control": rule}
        self.desk.execute(when | quoted | flagged | verdicts)
        return self.desk.executions[-1]

    def holding(self, shares: float, price: float = PRICE) -> "Trader":
        """Self, after a first fill that brings the position to ``shares``."""
        first = control(0, limit=1e9, lot_shares=abs(shares), size_step=1e-8, min_fill_shares=0.0)
        self.signal("BUY" if shares > 0 else "SELL", first, price)
        return self

    @property
    def position(self) -> Record:
        return self.desk.positions["AAPL"]


def brief(execution: Record) -> tuple[str, str | None, float]:
    return execution["outcome"], execution["reason"], execution["shares"]


# Signals that ask for nothing


@pytest.mark.parametrize("reason", ["END", "REMOVED"])
def test_an_end_or_removal_does_nothing_even_when_closing(reason: str) -> None:
    trader = Trader().holding(100)
    execution = trader.signal("HOLD", control(state="CLOSING"), reason=reason)
    assert brief(execution) == ("NONE", reason, 0.0)
    assert (execution["side"], execution["trade_id"]) == (None, None)


@pytest.mark.parametrize("reason", [None, "WARMUP", "STALE"])
def test_hold_is_none_with_the_signals_own_reason(reason: str | None) -> None:
    assert brief(Trader().signal("HOLD", control(), reason=reason)) == ("NONE", reason, 0.0)


def test_no_control_refuses() -> None:
    trader = Trader()
    assert brief(trader.signal("BUY", None)) == ("REFUSED", "NO_CONTROL", 0.0)
    assert brief(trader.signal("HOLD", None)) == ("NONE", None, 0.0)


# Limit, lot, dust, size


def test_a_lot_is_filled_within_the_limit() -> None:
    trader = Trader()
    execution = trader.signal("BUY", control())
    assert brief(execution) == ("FILLED", None, 100.0)
    assert (execution["side"], execution["price"], execution["position_before"]) == ("BUY", 50.0, 0.0)
    assert (execution["trade_id"], execution["position_after"]) == ("AAPL-10", 100.0)


def test_a_fill_is_clipped_at_the_limit_and_then_refused() -> None:
    trader = Trader()
    rule = control(limit=6_040.0)  # 120 shares at 50
    assert brief(trader.signal("BUY", rule)) == ("FILLED", None, 100.0)
    assert brief(trader.signal("BUY", rule)) == ("CLIPPED", "LIMIT", 20.0)
    assert brief(trader.signal("BUY", rule)) == ("REFUSED", "LIMIT", 0.0)


def test_the_limit_binds_short_positions_alike() -> None:
    trader = Trader()
    rule = control(limit=6_040.0)
    fills = [brief(trader.signal("SELL", rule)) for _ in range(3)]
    assert fills == [("FILLED", None, 100.0), ("CLIPPED", "LIMIT", 20.0), ("REFUSED", "LIMIT", 0.0)]
    assert trader.position["shares"] == -120.0


def test_a_position_above_a_lowered_limit_adds_nothing_and_may_still_sell() -> None:
    trader = Trader().holding(100)
    rule = control(limit=1_000.0)  # 20 shares
    assert brief(trader.signal("BUY", rule)) == ("REFUSED", "LIMIT", 0.0)
    assert brief(trader.signal("SELL", rule)) == ("FILLED", None, 100.0)


def test_a_limit_of_zero_lets_a_position_go_flat() -> None:
    trader = Trader().holding(40)
    assert brief(trader.signal("SELL", control(limit=0.0))) == ("CLIPPED", "LIMIT", 40.0)


def test_what_the_limit_leaves_below_the_smallest_fill_is_refused_as_limit() -> None:
    trader = Trader().holding(100)
    assert brief(trader.signal("BUY", control(limit=5_450.0))) == ("REFUSED", "LIMIT", 0.0)  # room 9


def test_a_lot_below_the_smallest_fill_is_dust() -> None:
    assert brief(Trader().signal("BUY", control(lot_shares=9.0))) == ("REFUSED", "DUST", 0.0)


def test_reducing_a_position_is_never_dust() -> None:
    trader = Trader().holding(5)
    assert brief(trader.signal("SELL", control(lot_shares=3.0))) == ("FILLED", None, 3.0)


def test_a_small_flip_is_dust_as_a_whole() -> None:
    trader = Trader().holding(5)
    assert brief(trader.signal("SELL", control(lot_shares=9.0))) == ("REFUSED", "DUST", 0.0)
    assert brief(trader.signal("SELL", control(lot_shares=10.0))) == ("FILLED", None, 10.0)


def test_a_lot_is_a_whole_number_of_steps() -> None:
    assert brief(Trader().signal("BUY", control(lot_shares=109.0, size_step=20.0))) == ("FILLED", None, 100.0)


def test_a_lot_below_one_step_has_no_size() -> None:
    rule = control(lot_shares=0.5, min_fill_shares=0.0)
    assert brief(Trader().signal("BUY", rule)) == ("REFUSED", "NO_SIZE", 0.0)


def test_fractional_steps_add_up_exactly() -> None:
    trader = Trader()
    rule = control(limit=1e6, lot_shares=0.1, size_step=0.00001, min_fill_shares=0.0001)
    for _ in range(3):
        trader.signal("BUY", rule, price=60_000.0)
    assert trader.position["shares"] == 0.3  # 0.1 + 0.1 + 0.1 is not, in floats
    assert brief(trader.signal("SELL", control(lot_shares=0.3, size_step=0.1), 60_000.0)) == (
        "FILLED",
        None,
        0.3,
    )
    assert trader.position["shares"] == 0.0


def test_a_fractional_limit_is_cut_to_whole_steps() -> None:
    rule = control(limit=1_000.0, lot_shares=1.0, size_step=0.00001, min_fill_shares=0.0001)
    execution = Trader().signal("BUY", rule, price=60_000.0)
    assert brief(execution) == ("CLIPPED", "LIMIT", 0.01666)


def test_the_displayed_size_caps_a_fill_only_when_asked() -> None:
    assert brief(Trader().signal("BUY", control(), size=30.7)) == ("FILLED", None, 100.0)
    capped = Trader(cap_by_size=True)
    assert brief(capped.signal("BUY", control(), size=30.7)) == ("CLIPPED", "NO_SIZE", 30.0)
    assert brief(capped.signal("BUY", control(), size=0.7)) == ("REFUSED", "NO_SIZE", 0.0)
    assert brief(capped.signal("BUY", control(), size=9.0)) == ("REFUSED", "DUST", 0.0)


# States


def test_reducing_only_goes_towards_flat_and_never_past_it() -> None:
    trader = Trader().holding(30)
    rule = control(state="REDUCING")
    assert brief(trader.signal("BUY", rule)) == ("REFUSED", "REDUCING", 0.0)
    assert brief(trader.signal("SELL", rule)) == ("CLIPPED", "REDUCING", 30.0)
    assert brief(trader.signal("SELL", rule)) == ("REFUSED", "REDUCING", 0.0)


def test_reducing_still_takes_at_most_a_lot() -> None:
    trader = Trader().holding(-250)
    assert brief(trader.signal("BUY", control(state="REDUCING", limit=1e6))) == ("FILLED", None, 100.0)


def test_closing_fills_the_whole_position_whatever_the_lot_and_the_step() -> None:
    trader = Trader().holding(250.5)
    execution = trader.signal("HOLD", control(state="CLOSING"), reason="WARMUP")
    assert brief(execution) == ("FILLED", None, 250.5)
    assert (trader.desk.trades[-1]["reason"], trader.desk.trades[-1]["side"]) == ("CLOSING", "SELL")


def test_closing_a_flat_position_refuses_new_trades() -> None:
    rule = control(state="CLOSING")
    assert brief(Trader().signal("BUY", rule)) == ("REFUSED", "REDUCING", 0.0)
    assert brief(Trader().signal("HOLD", rule, reason="STALE")) == ("NONE", "STALE", 0.0)


def test_halted_fills_nothing_not_even_a_session_close_out() -> None:
    trader = Trader().holding(100)
    rule = control(state="HALTED")
    assert brief(trader.signal("SELL", rule, session="CLOSING")) == ("REFUSED", "HALTED", 0.0)
    assert brief(trader.signal("HOLD", rule, session="CLOSING")) == ("NONE", None, 0.0)


def test_the_session_close_out_names_itself() -> None:
    trader = Trader().holding(-250)
    assert brief(trader.signal("BUY", control(), session="CLOSING")) == ("FILLED", None, 250.0)
    assert trader.desk.trades[-1]["reason"] == "SESSION_CLOSE"
    assert brief(trader.signal("BUY", control(), session="CLOSING")) == ("REFUSED", "SESSION", 0.0)


def test_a_closed_session_fills_nothing_not_even_closing() -> None:
    trader = Trader().holding(100)
    rule = control(state="CLOSING")
    assert brief(trader.signal("SELL", rule, session="CLOSED")) == ("REFUSED", "SESSION", 0.0)
    assert brief(trader.signal("HOLD", rule, session="CLOSED")) == ("NONE", None, 0.0)


def test_without_short_selling_a_sale_ends_at_flat() -> None:
    trader = Trader().holding(30)
    rule = control(allow_short=False)
    assert brief(trader.signal("SELL", rule)) == ("CLIPPED", "SHORT", 30.0)
    assert brief(trader.signal("SELL", rule)) == ("REFUSED", "SHORT", 0.0)
    assert brief(trader.signal("BUY", rule)) == ("FILLED", None, 100.0)


# The loss limit


def test_a_loss_beyond_the_limit_latches_reducing() -> None:
    trader = Trader().holding(100)
    rule = control(max_loss_dollars=200.0)
    assert brief(trader.signal("HOLD", rule, price=48.0)) == ("NONE", None, 0.0)
    assert trader.position["state"] == "ACTIVE"  # a loss of exactly the limit
    assert brief(trader.signal("BUY", rule, price=47.99)) == ("REFUSED", "LOSS", 0.0)
    assert (trader.position["state"], trader.position["loss_latched_version"]) == ("REDUCING", 1)


def test_the_latch_outlasts_a_recovery_and_caps_at_flat() -> None:
    trader = Trader().holding(30)
    rule = control(max_loss_dollars=50.0)
    trader.signal("HOLD", rule, price=40.0)
    assert brief(trader.signal("BUY", rule, price=60.0)) == ("REFUSED", "LOSS", 0.0)
    assert brief(trader.signal("SELL", rule, price=60.0)) == ("CLIPPED", "LOSS", 30.0)


def test_only_a_newer_control_lifts_the_latch() -> None:
    trader = Trader().holding(100)
    trader.signal("HOLD", control(1, max_loss_dollars=200.0), price=40.0)
    starred = control(1, max_loss_dollars=200.0, star_version=5)
    assert brief(trader.signal("BUY", starred)) == ("REFUSED", "LOSS", 0.0)
    newer = control(2, limit=1e6, max_loss_dollars=2_000.0)
    assert brief(trader.signal("BUY", newer)) == ("FILLED", None, 100.0)
    assert trader.position["state"] == "ACTIVE"


def test_a_newer_control_may_latch_again_at_once() -> None:
    trader = Trader().holding(100)
    trader.signal("HOLD", control(1, max_loss_dollars=200.0), price=40.0)
    trader.signal("HOLD", control(2, max_loss_dollars=200.0), price=40.0)
    assert trader.position["loss_latched_version"] == 2


def test_a_reducing_control_keeps_its_own_reason_when_latched() -> None:
    trader = Trader().holding(100)
    rule = control(max_loss_dollars=200.0, state="REDUCING")
    assert brief(trader.signal("BUY", rule, price=40.0)) == ("REFUSED", "REDUCING", 0.0)


def test_fees_count_towards_the_loss() -> None:
    trader = Trader(fee_per_share=1.0).holding(100)
    assert brief(trader.signal("BUY", control(max_loss_dollars=99.0))) == ("REFUSED", "LOSS", 0.0)


# The original's limit


def test_the_original_tests_the_position_before_the_whole_lot() -> None:
    trader = Trader(limit_rule="overshoot")
    rule = control(limit=5_001.0)
    fills = [brief(trader.signal("BUY", rule)) for _ in range(3)]
    assert fills == [("FILLED", None, 100.0), ("FILLED", None, 100.0), ("REFUSED", "LIMIT", 0.0)]
    assert trader.position["shares"] == 200.0


def test_the_originals_limit_itself_is_not_below_the_limit() -> None:
    trader = Trader(limit_rule="overshoot").holding(100)
    assert brief(trader.signal("BUY", control(limit=5_000.0))) == ("REFUSED", "LIMIT", 0.0)


def test_the_originals_limit_itself_is_not_above_its_negative() -> None:
    trader = Trader(limit_rule="overshoot").holding(-100)
    assert brief(trader.signal("SELL", control(limit=5_000.0))) == ("REFUSED", "LIMIT", 0.0)


def test_the_original_tries_to_sell_when_the_limit_blocks_a_buy() -> None:
    trader = Trader(limit_rule="overshoot").holding(100)
    execution = trader.signal("BUY", control(limit=5_000.0), sell=True)
    assert (brief(execution), execution["side"]) == (("FILLED", None, 100.0), "SELL")


# The ledger


def ledger_after(*fills: tuple[float, float]) -> Ledger:
    """A ledger after (signed shares, price) fills without fees."""
    ledger = Ledger()
    for shares, price in fills:
        ledger.fill(1 if shares > 0 else -1, units(abs(shares)), price, 0.0)
    return ledger


def test_adding_averages_the_cost() -> None:
    ledger = ledger_after((100, 10.0), (300, 14.0))
    assert (ledger.shares, ledger.average_cost, ledger.realised, ledger.cash) == (400.0, 13.0, 0.0, -5200.0)


def test_reducing_realises_and_keeps_the_cost() -> None:
    ledger = ledger_after((100, 10.0), (-40, 12.0))
    assert (ledger.shares, ledger.average_cost, ledger.realised) == (60.0, 10.0, 80.0)


def test_a_short_position_earns_when_the_price_falls() -> None:
    ledger = ledger_after((-100, 10.0), (40, 8.0))
    assert (ledger.shares, ledger.average_cost, ledger.realised) == (-60.0, 10.0, 80.0)
    assert ledger.unrealised(9.0) == 60.0


def test_a_flip_realises_the_old_side_and_starts_at_the_fill() -> None:
    ledger = ledger_after((100, 10.0), (-150, 12.0))
    assert (ledger.shares, ledger.average_cost, ledger.realised) == (-50.0, 12.0, 200.0)


def test_a_flat_position_has_no_cost() -> None:
    ledger = ledger_after((-100, 10.0), (100, 12.0))
    assert (ledger.shares, ledger.average_cost, ledger.realised) == (0.0, 0.0, -200.0)
    assert ledger.cash == -200.0


@pytest.mark.parametrize("seed", range(20))
def test_realised_and_unrealised_are_the_sum_of_shares_times_distance_to_the_mark(seed: int) -> None:
    draw = random.Random(seed)
    fills = [(draw.choice((-1, 1)) * draw.randint(1, 300), draw.uniform(50, 150)) for _ in range(200)]
    ledger, mark = ledger_after(*fills), draw.uniform(50, 150)
    oracle = sum(shares * (mark - price) for shares, price in fills)
    assert ledger.realised + ledger.unrealised(mark) == pytest.approx(oracle, abs=1e-6)
    assert ledger.cash + ledger.shares * mark == pytest.approx(oracle, abs=1e-6)


def test_fees_per_share_and_in_basis_points_lower_the_net_and_the_cash() -> None:
    trader = Trader(fee_per_share=0.01, fee_bps=2.0)
    trader.signal("BUY", control())
    pnl = trader.desk.pnl["AAPL"]
    assert trader.desk.trades[0]["fee"] == pytest.approx(1.0 + 1.0)
    assert (pnl["fees"], pnl["net"]) == (pytest.approx(2.0), pytest.approx(-2.0))
    assert trader.position["cash"] == pytest.approx(-5002.0)


def test_pnl_is_marked_by_every_signal() -> None:
    trader = Trader().holding(100)
    trader.signal("HOLD", control(), price=53.0)
    pnl = trader.desk.pnl["AAPL"]
    assert (pnl["mark"], pnl["mark_ts"], pnl["unrealised"], pnl["exposure"]) == (53.0, 19, 300.0, 5300.0)


def test_a_trade_tells_what_it_realised() -> None:
    trader = Trader().holding(100)
    trader.signal("SELL", control(), price=53.0)
    trade = trader.desk.trades[-1]
    assert (trade["realised"], trade["reason"], trade["quote_ts"]) == (300.0, "SIGNAL", 19)
    assert trader.position["trades"] == 2
