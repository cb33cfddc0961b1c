"""Synthetic quotes onto a real broker: history, then live."""

import threading
import time
from itertools import pairwise

import pytest

from agents.feeds import synthetic
from agents.feeds.generator import WalkSettings
from agents.feeds.session import Progress
from agents.feeds.synthetic import SyntheticSettings
from agents.feeds.wire import Wire
from agents.stream.config import KafkaConfig
from agents.stream.errors import BadConfiguration
from schemas.times import NS
from tests.feeds.rows import T0, rows_of
from tests.feeds.topic import clocks, quotes

HISTORY = SyntheticSettings(live=False, seconds=20.0, start_ts=T0)


@pytest.mark.parametrize("wire", list(Wire))
def test_history_is_what_was_generated(config: KafkaConfig, wire: Wire) -> None:
    settings = SyntheticSettings(live=False, seconds=20.0, start_ts=T0, wire=wire)
    summary = synthetic.run(config, settings)
    expected = [each for chunk in synthetic.generate(HISTORY) for each in rows_of(chunk)]
    assert sorted(quotes(config)) == sorted(expected)
    assert summary.quotes == len(expected)
    for each in clocks(config):
        assert [clock.clock for clock in each[:-1]] == [T0 + i * NS for i in range(20)]
        assert each[-1].end and each[-1].clock == expected[-1].ts


def test_history_on_used_topics_is_refused(config: KafkaConfig) -> None:
    synthetic.run(config, HISTORY)
    with pytest.raises(BadConfiguration, match="MM_PREFIX"):
        synthetic.run(config, HISTORY)


def test_live_quotes_follow_their_history_at_the_time_of_sending(config: KafkaConfig) -> None:
    before = time.time_ns()
    settings = SyntheticSettings(WalkSettings(rate=200.0), seconds=1.5, preroll_seconds=10.0)
    summary = synthetic.run(config, settings)
    after = time.time_ns()
    rows = quotes(config)
    assert before - 10 * NS <= rows[0].ts < rows[-1].ts <= after
    live = [each.ts for each in rows if each.ts >= before]
    assert len(live) == pytest.approx(300, rel=0.5)
    assert all(later > earlier for earlier, later in pairwise(live))
    assert summary.ended and summary.quotes == len(rows)
    for each in clocks(config):
        assert each[-1].end and each[-1].clock >= rows[-1].ts
        assert all(later.clock - earlier.clock == NS for earlier, later in pairwise(each[:-1]))


def test_a_second_start_goes_on_after_the_first(config: KafkaConfig) -> None:
    settings = SyntheticSettings(seconds=0.2, preroll_seconds=5.0)
    first = synthetic.run(config, settings)
    second = synthetic.run(config, settings)
    assert first.latest_ts is not None and second.first_ts is not None
    assert second.first_ts > first.latest_ts


def test_a_clock_that_agents_will_not_follow_is_told(
    config: KafkaConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class SetBack:
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def time_ns() -> int:
            return time.time_ns() - 3600 * NS

    first = synthetic.run(config, SyntheticSettings(seconds=0.2))
    monkeypatch.setattr(synthetic, "time", SetBack)
    second = synthetic.run(config, SyntheticSettings(seconds=0.2))
    assert first.latest_ts is not None and second.first_ts is not None
    assert second.first_ts > first.latest_ts
    assert caplog.text.count("agents use no new ones until it has caught up") == 1


def test_clocks_go_on_where_no_quote_comes(config: KafkaConfig) -> None:
    settings = SyntheticSettings(WalkSettings(rate=0.001), seconds=2.5)
    assert synthetic.run(config, settings).quotes == 0
    assert all(len(each) >= 3 and each[-1].end for each in clocks(config))


def test_stopped_live_quotes_end_with_a_clock(config: KafkaConfig) -> None:
    stop = threading.Event()

    def stop_at_first_report(_: Progress) -> None:
        stop.set()

    summary = synthetic.run(config, SyntheticSettings(), stop_at_first_report, stop)
    assert summary.ended
    assert all(each[-1].end for each in clocks(config))


def test_bad_rows_travel_too(config: KafkaConfig) -> None:
    settings = SyntheticSettings(WalkSettings(bad_fraction=0.3), live=False, seconds=5.0, start_ts=T0)
    sent = synthetic.run(config, settings).quotes
    assert sent == sum(len(chunk) for chunk in synthetic.generate(settings))
