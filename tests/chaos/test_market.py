"""The input of a chaos run."""

from __future__ import annotations

from agents.chaos.due import Controls
from agents.chaos.market import START_TS, Change, Market
from schemas.records import EVERY_SYMBOL, StarControl, State

MARKET = Market(seed=5, seconds=3000, symbols=12, rate=20, changes=200)


def test_a_market_is_the_same_at_each_call_and_another_with_another_seed() -> None:
    first, again = (b"".join(chunk.bid.tobytes() for chunk in MARKET.quotes()) for _ in range(2))
    assert first == again
    assert MARKET.published() == MARKET.published()
    assert MARKET.published() != Market(seed=6, seconds=3000, symbols=12, rate=20, changes=200).published()


def test_controls_are_published_before_they_hold() -> None:
    before, later = MARKET.controls()
    assert {change.key for change in before} == set(MARKET.names())
    assert all(change.publish_ts < (change.control.effective_from or 0) for change in later)
    assert [change.publish_ts for change in later] == sorted(change.publish_ts for change in later)


def test_what_bounds_every_symbol_is_lifted_again() -> None:
    stars: list[Change] = [change for change in MARKET.controls()[1] if change.key == EVERY_SYMBOL]
    assert {change.control.state for change in stars} == set(State)
    held = Controls()
    for version, change in enumerate(stars):
        assert isinstance(change.control, StarControl)
        star = {"state": str(change.control.state), "effective_from": change.control.effective_from}
        held.add(version, EVERY_SYMBOL, star)
    assert held.at(EVERY_SYMBOL, START_TS + 10**13)[1]["state"] == State.ACTIVE
