"""Whatever happens to an agent in the middle of its work, the same trades come out, once."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from agents.execution import ExecutionTask
from agents.signals import SignalsAgent, SignalsTask
from agents.strategy.settings import Settings
from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import (
    InputGap,
    InstanceTaken,
    MissingTopics,
    NoBroker,
    TornState,
    TransactionFailed,
    UnequalPartitions,
)
from agents.stream.runner import Runner, RunnerSettings
from agents.stream.transaction import Transactions
from deploy.ports import free_port
from schemas.records import Control
from schemas.topics import CHECKPOINTS, QUOTES, SIGNALS, TOPICS
from tests.integration import market
from tests.integration.pipeline import Pipeline, Running, trades_hash, wait_until

CONTROL = Control(max_position_dollars=50_000)
QUICK = RunnerSettings(commit_seconds=0.02, batch_records=50)


@pytest.fixture(scope="module")
def undisturbed(kafka: Any) -> str:
    """The hash of the trades when nothing goes wrong."""
    desk = Pipeline(kafka.bootstrap, f"undisturbed-{secrets.token_hex(3)}-")
    desk.create_topics()
    fill(desk)
    desk.start_all()
    desk.wait_until_drained()
    trades = desk.trades()
    desk.stop()
    assert len({trade["symbol"] for trade in trades}) == len(market.SYMBOLS)
    return trades_hash(trades)


def fill(desk: Pipeline) -> None:
    fill_controls(desk)
    desk.quotes(market.quotes())


def fill_controls(desk: Pipeline) -> None:
    for symbol in market.SYMBOLS:
        desk.control(symbol, CONTROL)


def audit(desk: Pipeline, undisturbed: str) -> None:
    """Trades as if nothing had happened, none twice, and positions that follow from them."""
    trades = desk.trades()
    assert len({trade["id"] for trade in trades}) == len(trades)
    assert trades_hash(trades) == undisturbed
    positions = desk.table("positions")
    for symbol in market.SYMBOLS:
        signed = [t["shares"] if t["side"] == "BUY" else -t["shares"] for t in trades if t["symbol"] == symbol]
        assert positions[symbol]["shares"] == sum(signed)
    signals = [(s["symbol"], s["ts"], s["reason"] == "END") for s in desk.records(SIGNALS.name)]
    assert len(set(signals)) == len(signals)
    # A table that is ahead of its input makes what comes again late.
    assert desk.counters("signals")["late"] == 0


class Gate:
    """Holds a task in the middle of its transaction, at its n-th batch, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, task: type, at_batch: int) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self._batches = 0
        process = task.process

        def held(this: Any, batch: Any, out: Any) -> None:
            process(this, batch, out)
            self._batches += 1
            if self._batches == at_batch:
                self.reached.set()
                self.opened.wait(60)

        monkeypatch.setattr(task, "process", held)


def test_clean_stop_and_restart_go_on_where_they_were(
    pipeline: Callable[..., Pipeline], undisturbed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = pipeline(runner_settings=QUICK)
    fill(desk)
    gate = Gate(monkeypatch, SignalsTask, at_batch=5)
    first = desk.start("signals")
    assert gate.reached.wait(60), desk.running[-1].errors
    first.runner.stop()
    gate.opened.set()
    first.stop()
    desk.running.clear()
    taken = sum(c["offset"] for c in desk.checkpoints("signals"))
    assert 0 < taken < sum(len_of(desk, QUOTES.name))
    desk.start_all()
    desk.wait_until_drained()
    audit(desk, undisturbed)


def len_of(desk: Pipeline, topic: str) -> list[int]:
    return list(topics.ends(desk.admin, desk.config.name(topic), range(desk.partitions)).values())


def test_agent_thrown_out_of_its_group_with_an_open_transaction_commits_nothing(
    pipeline: Callable[..., Pipeline], undisturbed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = pipeline(runner_settings=QUICK)
    desk.config = KafkaConfig(desk.bootstrap, desk.prefix, {"max.poll.interval.ms": "6500"})
    fill(desk)
    gate = Gate(monkeypatch, SignalsTask, at_batch=5)
    zombie = desk.start("signals", "zombie")
    assert gate.reached.wait(60), desk.running[-1].errors
    desk.start("signals", "heir")
    desk.start("execution")
    desk.start("portfolio")
    # The heir gets everything once the group has thrown the silent member out.
    wait_until(lambda: held_by(desk, "heir") == 4, "the heir to take over")
    gate.opened.set()
    desk.wait_until_drained()
    audit(desk, undisturbed)
    assert zombie.errors == []


def held_by(desk: Pipeline, instance: str) -> int:
    return sum(len(running.runner.assigned) for running in desk.running if running.thread.name == f"signals-{instance}")


def test_another_process_takes_its_share_without_a_gap(
    pipeline: Callable[..., Pipeline], undisturbed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition is revoked while a transaction over several is open."""
    desk = pipeline(runner_settings=QUICK)
    fill(desk)
    gate = Gate(monkeypatch, SignalsTask, at_batch=5)
    desk.start("signals", "a")
    assert gate.reached.wait(60), desk.running[-1].errors
    desk.start("signals", "b")
    gate.opened.set()
    wait_until(lambda: held_by(desk, "a") == 2 and held_by(desk, "b") == 2, "the partitions to be shared")
    desk.start("execution", "a")
    desk.start("execution", "b")
    desk.start("portfolio")
    desk.wait_until_drained()
    audit(desk, undisturbed)


def test_agent_that_falls_behind_holds_up_nobody_before_it_and_catches_up(
    pipeline: Callable[..., Pipeline], undisturbed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = pipeline(runner_settings=QUICK)
    fill(desk)
    gate = Gate(monkeypatch, ExecutionTask, at_batch=2)
    desk.start_all()
    assert gate.reached.wait(60), desk.running[-1].errors
    desk.wait_until_taken()
    behind = len(desk.records(SIGNALS.name)) - desk.counters("execution").get("used", 0)
    gate.opened.set()
    desk.wait_until_drained()
    assert behind > 0
    audit(desk, undisturbed)


def test_idle_process_takes_over_after_a_change_of_controls(pipeline: Callable[..., Pipeline]) -> None:
    desk = pipeline(partitions=1)
    fill_controls(desk)
    first = desk.start("signals", "a")
    wait_until(lambda: held_by(desk, "a") == 1, "the partition to be taken")
    desk.start("signals", "b")
    group = desk.config.name("signals")
    wait_until(
        lambda: len(desk.admin.describe_consumer_groups([group])[group].result().members) == 2, "the other to be there"
    )
    rows = list(market.quotes())
    fill_controls(desk)
    desk.quotes(rows[: len(rows) // 2])
    desk.wait_until_taken()
    desk.running.remove(first)
    first.stop()
    desk.quotes(rows[len(rows) // 2 :])
    desk.wait_until_taken()
    assert held_by(desk, "b") == 1
    assert {signal["control"]["version"] for signal in desk.records(SIGNALS.name)} == set(range(6, 12))


def test_failed_transaction_is_aborted_and_its_input_read_again(
    pipeline: Callable[..., Pipeline], undisturbed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that the broker refuses makes the transaction fail; without it the work goes on."""
    desk = pipeline(runner_settings=QUICK)
    fill(desk)
    spoiled = threading.Event()
    process = SignalsTask.process

    def spoil_once(this: SignalsTask, batch: Any, out: Any) -> None:
        process(this, batch, out)
        if not spoiled.is_set() and batch.first_offset > 0:
            spoiled.set()
            out.send(SIGNALS, "AAPL", b"x" * 1_500_000)  # above the topic's max.message.bytes

    monkeypatch.setattr(SignalsTask, "process", spoil_once)
    desk.start_all()
    desk.wait_until_drained()
    assert spoiled.is_set()
    assert desk.running[0].runner.metrics.aborts._value.get() >= 1
    audit(desk, undisturbed)


def test_commit_that_fails_takes_along_what_was_done_beside_it(
    pipeline: Callable[..., Pipeline], undisturbed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches are processed while a commit is under way; if it fails, they count as little as it does."""
    desk = pipeline(runner_settings=QUICK)
    rows = list(market.quotes())
    fill_controls(desk)
    desk.quotes(rows[: len(rows) // 2])
    under_way, beside = threading.Event(), threading.Event()
    process, commit = SignalsTask.process, Transactions._commit

    def processed(this: SignalsTask, batch: Any, out: Any) -> None:
        process(this, batch, out)
        if under_way.is_set():
            beside.set()

    def fail_once(this: Transactions, *arguments: Any) -> float:
        if not under_way.is_set():
            under_way.set()
            assert beside.wait(60), "nothing was processed beside the commit"
            raise TransactionFailed("by the test")
        return commit(this, *arguments)

    monkeypatch.setattr(SignalsTask, "process", processed)
    monkeypatch.setattr(Transactions, "_commit", fail_once)
    signals = desk.start("signals")
    wait_until(lambda: under_way.is_set() or bool(signals.errors), "a commit to be under way")
    desk.quotes(rows[len(rows) // 2 :])
    desk.start("execution")
    desk.start("portfolio")
    desk.wait_until_drained()
    assert signals.runner.metrics.aborts._value.get() >= 1
    audit(desk, undisturbed)


def test_error_in_the_middle_of_a_batch_leaves_nothing_of_it(
    pipeline: Callable[..., Pipeline], undisturbed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends an agent: closing its consumer revokes partitions, and must not commit what is half done."""
    desk = pipeline(runner_settings=QUICK)
    fill(desk)
    publish = SignalsTask._publish_signal
    signals = iter(range(100))

    def fail_once(this: SignalsTask, *arguments: Any) -> None:
        publish(this, *arguments)
        if next(signals, None) == 20:
            raise ZeroDivisionError

    monkeypatch.setattr(SignalsTask, "_publish_signal", fail_once)
    first = desk.start("signals")
    wait_until(lambda: not first.thread.is_alive(), "the agent to end")
    assert [type(error) for error in first.errors] == [ZeroDivisionError]
    desk.running.clear()
    desk.start_all()
    desk.wait_until_drained()
    audit(desk, undisturbed)


def test_commit_that_hangs_is_seen_and_does_not_keep_an_agent_from_ending(
    pipeline: Callable[..., Pipeline], undisturbed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = pipeline(runner_settings=QUICK)
    fill(desk)
    hanging, released = threading.Event(), threading.Event()
    commit = Transactions._commit

    def hang(this: Transactions, *arguments: Any) -> float:
        hanging.set()
        assert released.wait(120)
        raise TransactionFailed("by the test")

    monkeypatch.setattr(Transactions, "_commit", hang)
    first = desk.start("signals")
    try:
        assert hanging.wait(60), first.errors
        first.runner.stop()
        wait_until(lambda: first.runner.seconds_in_transaction() > 1, "what the watchdog looks at to grow")
        first.stop()  # while the commit hangs
    finally:
        released.set()
    desk.running.clear()
    monkeypatch.setattr(Transactions, "_commit", commit)
    desk.start_all()
    desk.wait_until_drained()
    audit(desk, undisturbed)


def test_successor_of_the_same_name_fences_its_predecessor(
    pipeline: Callable[..., Pipeline], undisturbed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = pipeline(runner_settings=QUICK)
    fill(desk)
    gate = Gate(monkeypatch, SignalsTask, at_batch=5)
    predecessor = desk.start("signals", "same")
    assert gate.reached.wait(60), desk.running[-1].errors
    desk.running.remove(predecessor)
    desk.start("signals", "same")
    desk.start("execution")
    desk.start("portfolio")
    wait_until(lambda: held_by(desk, "same") == 4, "the successor to take over")
    gate.opened.set()
    desk.wait_until_drained()
    audit(desk, undisturbed)
    wait_until(lambda: bool(predecessor.errors), "the predecessor to give up")
    with pytest.raises(InstanceTaken):
        predecessor.stop()


# -- state that does not fit ----------------------------------------------------------------------------------


def stopped_after_work(pipeline: Callable[..., Pipeline]) -> Pipeline:
    desk = pipeline()
    fill(desk)
    desk.start_all()
    desk.wait_until_drained()
    desk.stop()
    return desk


def error_of(desk: Pipeline) -> BaseException:
    failed: Running = desk.start("signals")
    failed.thread.join(60)
    assert failed.errors, "the agent started on state that does not fit"
    desk.running.remove(failed)
    return failed.errors[0]


def test_expired_group_offset_resumes_from_the_checkpoint(pipeline: Callable[..., Pipeline], undisturbed: str) -> None:
    desk = stopped_after_work(pipeline)
    group = desk.config.name("signals")
    # The group must be empty: a static member stays until its session is over.
    wait_until(lambda: deleted(desk, group), "the group to be deleted")
    desk.start("signals")
    wait_until(lambda: held_by(desk, "0") == 4, "the partitions to be taken")
    audit(desk, undisturbed)


def deleted(desk: Pipeline, group: str) -> bool:
    try:
        desk.admin.delete_consumer_groups([group])[group].result()
    except KafkaException as error:
        assert error.args[0].code() == KafkaError.NON_EMPTY_GROUP
        return False
    return True


@contextlib.contextmanager
def held_back(desk: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A signals agent that waits for its offsets, which a foreign transaction holds back until the block ends."""
    monkeypatch.setattr("agents.stream.restore._ASK_SECONDS", 0.5)
    waits: list[None] = []
    monkeypatch.setattr("agents.stream.restore._pause", lambda: waits.append(time.sleep(0.2)))
    foreign = clients.transactional_producer(desk.config, "foreign")
    foreign.init_transactions(30)
    foreign.begin_transaction()
    foreign.produce(desk.config.name(CHECKPOINTS.name), b"{}", b"foreign", 0)
    member = clients.consumer(desk.config, group="signals", instance="foreign")
    offsets = [TopicPartition(desk.config.name(QUOTES.name), partition, 5) for partition in range(desk.partitions)]
    foreign.send_offsets_to_transaction(offsets, member.consumer_group_metadata(), 30)
    agent = desk.start("signals")
    wait_until(lambda: len(waits) >= 2, "the agent to have asked for its offsets twice")
    try:
        yield agent
    finally:
        foreign.abort_transaction(30)
        member.close()


def test_agent_waits_for_a_transaction_that_holds_its_state_back(
    pipeline: Callable[..., Pipeline], undisturbed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = pipeline()
    fill(desk)
    with held_back(desk, monkeypatch) as agent:
        assert agent.runner.ready() is not None
    desk.start("execution")
    desk.start("portfolio")
    desk.wait_until_drained()
    desk.stop()
    audit(desk, undisturbed)


def test_agent_that_waits_for_its_state_ends_when_it_is_told_to(
    pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = pipeline()
    fill(desk)
    monkeypatch.setattr("agents.stream.restore._COMMITTED_SECONDS", 3600.0)
    with held_back(desk, monkeypatch) as agent:
        desk.stop()
        assert agent.errors == []


def test_lost_checkpoint_is_refused(pipeline: Callable[..., Pipeline]) -> None:
    desk = stopped_after_work(pipeline)
    desk.publish(CHECKPOINTS.name, [(p, f"signals-{p}".encode(), None) for p in range(4)])
    error = error_of(desk)
    assert isinstance(error, TornState)
    assert "the checkpoint at None" in str(error)


def test_input_deleted_before_it_was_read_is_named(pipeline: Callable[..., Pipeline]) -> None:
    desk = stopped_after_work(pipeline)
    desk.quotes(market.quotes(seconds=2, start=market.START + 10**12))
    name = desk.config.name(QUOTES.name)
    ends = dict(enumerate(len_of(desk, QUOTES.name)))
    for future in desk.admin.delete_records([TopicPartition(name, p, end) for p, end in ends.items()]).values():
        future.result()
    error = error_of(desk)
    assert isinstance(error, InputGap)
    assert f"{name} [" in str(error) and "gone from the log" in str(error)


# -- wrong use ------------------------------------------------------------------------------------------------


def run(config: KafkaConfig) -> None:
    Runner(SignalsAgent(Settings()), config, "0", RunnerSettings()).run()


def test_no_broker_is_said_in_one_line() -> None:
    with pytest.raises(NoBroker, match=r"no Kafka broker answers at 127\.0\.0\.1"):
        run(KafkaConfig(f"127.0.0.1:{free_port()}"))


def test_missing_topics_are_named(kafka: Any, prefix: str) -> None:
    with pytest.raises(MissingTopics, match=rf"{prefix}quotes.*mm topics create"):
        run(KafkaConfig(kafka.bootstrap, prefix))


def test_unequal_partition_counts_are_listed(pipeline: Callable[..., Pipeline]) -> None:
    desk = pipeline(create_topics=False)
    others = [topic for topic in TOPICS.values() if topic is not SIGNALS]
    topics.create(desk.admin, desk.config, others, 4, 1)
    topics.create(desk.admin, desk.config, [SIGNALS], 3, 1)
    with pytest.raises(UnequalPartitions, match="signals 3"):
        run(desk.config)
