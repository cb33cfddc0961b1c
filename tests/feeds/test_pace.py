"""A rate forgets what was long ago."""

import pytest

from agents.feeds import pace


def test_a_fast_beginning_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(pace.time, "monotonic", lambda: now)
    rate = pace.RecentRate()
    now += 1
    assert rate.at(90_000) == 90_000
    for second in range(1, 20):
        now += 1
        latest = rate.at(90_000 + 100 * second)
    assert latest == 100


def test_no_time_gives_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace.time, "monotonic", lambda: 100.0)
    assert pace.RecentRate().at(5) == 0
