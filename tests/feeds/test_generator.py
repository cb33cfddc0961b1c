"""Synthetic quotes: reproducible, plausible, with bad rows on request."""

import dataclasses
from itertools import islice

import numpy as np
import pytest

from agents.feeds.generator import WalkSettings, symbol_names, until, walk
from agents.feeds.quotes import COLUMNS, CUT, FIELD_MISSING, Quotes, concatenate
from agents.feeds.synthetic import SyntheticSettings, generate
from agents.stream.errors import BadConfiguration
from schemas.times import NS
from tests.feeds.rows import T0


def some(settings: WalkSettings, chunks: int = 5) -> Quotes:
    return concatenate(list(islice(walk(settings, T0), chunks)))


def test_same_seed_and_start_give_the_same_quotes() -> None:
    settings = WalkSettings(symbols=15, bad_fraction=0.1, seed=7)
    first, again, other = some(settings), some(settings), some(dataclasses.replace(settings, seed=8))
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.bid, other.bid)


def test_quotes_are_plausible() -> None:
    rows = some(WalkSettings(symbols=12, rate=500.0), chunks=20)
    cents = np.round(rows.bid * 100)
    np.testing.assert_array_equal(rows.bid, cents / 100)
    spread = np.round(rows.ask * 100) - cents
    assert set(spread.tolist()) == {1.0, 2.0, 3.0}
    assert not (rows.bid_size % 100).any() and rows.bid_size.min() >= 100
    assert (np.diff(rows.ts) >= 0).all() and rows.ts[0] >= T0
    seconds = (rows.ts[-1] - rows.ts[0]) / NS
    assert len(rows) / seconds == pytest.approx(500, rel=0.05)
    assert np.bincount(rows.ts // NS - T0 // NS).max() > 550  # bursts
    by_symbol = np.bincount(rows.number, minlength=12)
    assert 0 < by_symbol[8] < by_symbol[np.arange(12) != 8].min() / 20  # a quiet one


def test_good_rows_are_the_same_with_bad_ones_among_them() -> None:
    good, mixed = some(WalkSettings()), some(WalkSettings(bad_fraction=0.2))
    same = np.all([getattr(good, name) == getattr(mixed, name) for name in COLUMNS], axis=0)
    assert np.count_nonzero(~same) / len(good) == pytest.approx(0.2, abs=0.02)
    assert {CUT, FIELD_MISSING} <= set(mixed.defect.tolist())
    assert (mixed.bid == 0).any() and (mixed.ask < 0).any() and np.isnan(mixed.bid).any()
    assert (mixed.ask_size == 0).any() and (mixed.ts < mixed.promise).any()


def test_the_strategy_finds_something_to_trade() -> None:
    """The mid leaves the band around its moving average often, and comes back."""
    rows = some(WalkSettings(rate=50.0), chunks=4)
    mine = rows.number == 0
    mid, ts = (rows.bid[mine] + rows.ask[mine]) / 2, rows.ts[mine]
    ema, var, outside = mid[0], 0.0, []
    for x, dt in zip(mid[1:], np.diff(ts) / NS, strict=True):
        a = np.exp(-dt / 60)
        var = a * (var + (1 - a) * (x - ema) ** 2)
        ema = a * ema + (1 - a) * x
        outside.append(np.sign(x - ema) * (abs(x - ema) > np.sqrt(var) + 0.02))
    sides = np.array(outside)
    assert (sides > 0).mean() > 0.05 and (sides < 0).mean() > 0.05


def test_history_lasts_as_long_as_asked() -> None:
    settings = SyntheticSettings(live=False, seconds=10.0, start_ts=T0)
    rows = concatenate(list(generate(settings)))
    assert rows.ts[0] >= T0 and T0 + 9 * NS < rows.ts[-1] < T0 + 10 * NS
    assert sum(len(chunk) for chunk in until(walk(settings.walk, T0), T0)) == 0


def test_names_of_symbols() -> None:
    assert symbol_names(2) == ["AAPL", "GOOG"]
    assert symbol_names(12)[-3:] == ["SPY", "S0010", "S0011"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WalkSettings(symbols=0), "symbols must be"),
        (lambda: WalkSettings(rate=0), "rate must be"),
        (lambda: WalkSettings(bad_fraction=2), "bad_fraction must be"),
        (lambda: SyntheticSettings(seconds=-1.0), "seconds must be"),
        (lambda: SyntheticSettings(start_ts=T0), "start_ts is for history"),
        (lambda: SyntheticSettings(live=False), "seconds says how much history"),
        (lambda: SyntheticSettings(live=False, seconds=1.0, preroll_seconds=1.0), "preroll_seconds is for live"),
        (lambda: SyntheticSettings(preroll_seconds=-1.0), "preroll_seconds must be"),
    ],
)
def test_settings_that_cannot_be_used(make: object, message: str) -> None:
    with pytest.raises(BadConfiguration, match=message):
        make()  # type: ignore[operator]
