"""Output that the broker will not take ends an agent, with what to do and with nothing of it published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from agents.signals import SignalsTask
from agents.stream import topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import OutputRefused
from agents.stream.runner import Runner, RunnerSettings
from schemas.records import Control
from schemas.topics import CHECKPOINTS, DEAD_LETTERS, MOMENTS, PREDS, QUOTES, SIGNALS, TICKS_BID_ASK, TOPICS, Topic
from tests.integration import market
from tests.integration.pipeline import Pipeline, Running, trades_hash, wait_until

CONTROL = Control(max_position_dollars=50_000)
QUICK = RunnerSettings(commit_seconds=0.02, batch_records=50)
SETBACK = Runner._wait_after_setback


def fill(desk: Pipeline) -> None:
    for symbol in market.SYMBOLS:
        desk.control(symbol, CONTROL)
    desk.quotes(market.quotes())


def with_limit(desk: Pipeline, limited: Topic, size: int) -> None:
    """Create all topics, one of them with a small limit."""
    topics.create(desk.admin, desk.config, [t for t in TOPICS.values() if t is not limited], desk.partitions, 1)
    small = Topic(limited.name, limited.record, limited.key, limited.writer, limited.settings | limit(size))
    topics.create(desk.admin, desk.config, [small], desk.partitions, 1)


def limit(size: int) -> dict[str, str]:
    return {"max.message.bytes": str(size)}


def raise_limit(desk: Pipeline, topic: Topic) -> None:
    entry = ConfigEntry("max.message.bytes", "1048588", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, desk.config.name(topic.name), incremental_configs=[entry])
    for done in desk.admin.incremental_alter_configs([resource]).values():
        done.result()


def refusal_of(desk: Pipeline, running: Running) -> OutputRefused:
    wait_until(lambda: not running.thread.is_alive(), "the agent to give up")
    desk.running.remove(running)
    (error,) = running.errors
    assert isinstance(error, OutputRefused)
    assert error.exit_status == 10
    assert "\n" not in str(error)
    return error


def undisturbed(pipeline: Callable[..., Pipeline]) -> str:
    desk = pipeline()
    fill(desk)
    desk.start_all()
    desk.wait_until_drained()
    trades = desk.trades()
    assert len({trade["symbol"] for trade in trades}) == len(market.SYMBOLS)
    return trades_hash(trades)


def test_a_topic_whose_limit_is_too_low_ends_its_writer_and_once_raised_nothing_is_lost(
    pipeline: Callable[..., Pipeline],
) -> None:
    desk = pipeline(create_topics=False, runner_settings=QUICK)
    with_limit(desk, SIGNALS, 200)
    fill(desk)
    name = desk.config.name(SIGNALS.name)
    text = str(refusal_of(desk, desk.start("signals")))
    assert f"{name} [" in text and "Message size too large" in text and "raise max.message.bytes" in text
    assert desk.messages(SIGNALS.name) == []
    raise_limit(desk, SIGNALS)
    desk.start_all()
    desk.wait_until_drained()
    assert trades_hash(desk.trades()) == undisturbed(pipeline)


def test_a_record_that_the_client_does_not_take_ends_the_agent_and_nothing_of_its_transaction_is_seen(
    pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = pipeline(runner_settings=QUICK)
    fill(desk)
    process = SignalsTask.process

    def spoil(this: SignalsTask, batch: Any, out: Any) -> None:
        process(this, batch, out)
        out.send(SIGNALS, "AAPL", b"x" * 1_500_000)

    monkeypatch.setattr(SignalsTask, "process", spoil)
    agent = desk.start("signals")
    text = str(refusal_of(desk, agent))
    assert f"a record of 1,500,004 bytes for {desk.config.name(SIGNALS.name)}" in text
    assert "raise message.max.bytes" in text
    assert agent.runner.metrics.aborts._value.get() == 6
    for topic in (SIGNALS, PREDS, TICKS_BID_ASK, MOMENTS, CHECKPOINTS):
        assert desk.messages(topic.name) == []
    monkeypatch.setattr(SignalsTask, "process", process)
    desk.start_all()
    desk.wait_until_drained()
    assert trades_hash(desk.trades()) == undisturbed(pipeline)


def test_a_table_whose_limit_is_too_low_is_named(pipeline: Callable[..., Pipeline]) -> None:
    """Rows are handed over with the commit, in another place than outputs."""
    positions = TOPICS["positions"]
    desk = pipeline(create_topics=False, runner_settings=QUICK)
    with_limit(desk, positions, 100)
    fill(desk)
    desk.start("signals")
    text = str(refusal_of(desk, desk.start("execution")))
    assert f"{desk.config.name(positions.name)} [" in text
    assert desk.trades() == []


def test_a_refusal_that_ends_in_time_is_waited_for(
    pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = pipeline(create_topics=False, runner_settings=QUICK)
    with_limit(desk, SIGNALS, 200)
    fill(desk)
    raised: list[Any] = []
    wait = SETBACK

    def raise_first(this: Any) -> None:
        if not raised and this.metrics.aborts._value.get() >= 2:
            raised.append(raise_limit(desk, SIGNALS))
        wait(this)

    monkeypatch.setattr("agents.stream.runner.Runner._wait_after_setback", raise_first)
    desk.start_all()
    desk.wait_until_drained()
    assert raised
    assert trades_hash(desk.trades()) == undisturbed(pipeline)


def test_a_dead_letter_fits_whatever_the_records_key(pipeline: Callable[..., Pipeline]) -> None:
    desk = pipeline(create_topics=False, partitions=1)
    desk.create_topics(**limit(16 << 20))
    agents = desk.config
    desk.config = KafkaConfig(desk.bootstrap, desk.prefix, {"message.max.bytes": str(16 << 20)})
    key, value = b"k" * 3_000_000, b"v" * 2_000_000
    desk.publish(QUOTES.name, [(0, key, value), (0, key, None), (0, b"AAPL", value)])
    desk.config = agents
    desk.control("AAPL", CONTROL)
    desk.quotes(market.quotes(seconds=50, symbols=("AAPL",)))
    desk.start_all()
    desk.wait_until_drained()
    letters = desk.messages(DEAD_LETTERS.name)
    assert [(letter.key(), letter.value()) for letter in letters] == [
        (key[: 64 << 10], value[: 512 << 10]),
        (key[: 64 << 10], None),
        (b"AAPL", value[: 512 << 10]),
    ]
    cut = [{n: int(v) for n, v in letter.headers() if "truncated" in n} for letter in letters]
    assert cut == [
        {"mm_truncated": 2_000_000, "mm_key_truncated": 3_000_000},
        {"mm_key_truncated": 3_000_000},
        {"mm_truncated": 2_000_000},
    ]
    assert desk.counters("signals")["used"] > 0
