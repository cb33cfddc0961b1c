"""When connections may be tried, and how quotes get their times."""

import logging
from itertools import pairwise

import pytest

from agents.feeds.attempts import Attempts, Backoff
from agents.feeds.exchanges.exchange import Tick
from agents.feeds.inbox import Inbox

TICK = Tick("BTC-USD", 1.0, 1.0, 2.0, 1.0, 0)


def test_the_delay_doubles_to_its_limit_and_varies() -> None:
    backoff = Backoff(first=0.5, longest=30.0)
    for failures, whole in [(1, 0.5), (2, 1.0), (4, 4.0), (7, 30.0), (10_000, 30.0)]:
        delays = [backoff.seconds(failures) for _ in range(200)]
        assert whole / 2 <= min(delays) < max(delays) <= whole
        assert len(set(delays)) > 100


def test_no_window_holds_more_attempts_than_allowed() -> None:
    attempts, now, times = Attempts(5, 10.0), 0.0, []
    for _ in range(23):
        now += attempts.wait(now) + 0.01
        attempts.note(now)
        times.append(now)
    assert all(later - earlier >= 10.0 for earlier, later in zip(times, times[5:], strict=False))
    assert times[4] < 1.0  # the first ones need not wait


def test_times_rise_also_when_the_clock_is_set_back() -> None:
    readings = iter([1_000, 2_000, 500, 600, 2_001, 9_000])
    inbox = Inbox(0, lambda: next(readings))
    for _ in range(5):
        inbox.put(TICK)
    waiting, now = inbox.take()
    times = [*(ts for ts, _ in waiting), now]
    assert times == [1_000, 2_000, 2_001, 2_002, 2_003, 9_000]
    assert all(later > earlier for earlier, later in pairwise(times))


def test_a_clock_that_agents_will_not_follow_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    second = 1_000_000_000
    readings = iter([100 * second, 96 * second, 94 * second, 93 * second, 99 * second, 101 * second])
    inbox = Inbox(0, lambda: next(readings))
    with caplog.at_level(logging.INFO, logger="agents.feeds"):
        for _ in range(6):
            inbox.put(TICK)
    warning, recovery = (record.getMessage() for record in caplog.records)
    assert "says 1970-01-01T00:01:34Z, but quotes were sent up to 1970-01-01T00:01:40.000000002Z" in warning
    assert "caught up" in recovery


def test_times_begin_after_what_the_topic_holds() -> None:
    inbox = Inbox(5_000, lambda: 10)
    inbox.put(TICK)
    assert inbox.take() == ([(5_001, TICK)], 5_002)
