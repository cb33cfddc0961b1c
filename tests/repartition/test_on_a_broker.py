"""mm topics repartition on a real broker: nothing is lost, nothing is taken up in part, the trades are the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from agents.repartition import run
from agents.repartition.run import repartition
from agents.strategy.settings import Settings
from agents.stream import carry, groups, topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import BadConfiguration, MissingTopics
from agents.stream.watch import read_whole
from schemas.controls import encode_control
from schemas.records import Control
from schemas.topics import CHECKPOINTS, CONTROLS, QUOTES, SIGNALS, TOPICS, Topic
from tests.integration import market
from tests.integration.pipeline import Pipeline, trades_hash, wait_until
from tests.kafka import Kafka
from tests.pipeline import offline

CONTROL = Control(max_position_dollars=50_000, max_loss_dollars=40)


@pytest.fixture
def desks(kafka: Kafka, prefix: str) -> Iterator[Callable[..., Pipeline]]:
    """Desks by number, the first with topics; their agents end with the test."""
    made: list[Pipeline] = []

    def make(partitions: int) -> Pipeline:
        made.append(Pipeline(kafka.bootstrap, f"{prefix}{len(made)}-", partitions))
        if len(made) == 1:
            made[0].create_topics()
        return made[-1]

    yield make
    for each in made:
        each.stop()


def undisturbed(rows: Sequence[dict[str, Any]]) -> offline.Pipeline:
    desk = offline.Pipeline(Settings())
    for symbol in market.SYMBOLS:
        desk.controls.write(symbol, encode_control(CONTROL))
    desk.process([offline.Raw(orjson.dumps(row)) for row in rows])
    desk.commit()
    return desk


def carried(old: Pipeline, new: Pipeline) -> run.Moved:
    return repartition(old.config, new.config, new.partitions, Settings())


@pytest.mark.parametrize("way", [(3, 5), (5, 2)], ids=str)
def test_a_replay_goes_on_in_other_partitions_and_trades_as_if_never_stopped(
    way: tuple[int, int], desks: Callable[..., Pipeline]
) -> None:
    rows = list(market.quotes(seconds=300))
    third = len(rows) // 3
    old = desks(way[0])
    for symbol in market.SYMBOLS:
        old.control(symbol, CONTROL)
    old.quotes(rows[:third])
    old.start_all()
    old.wait_until_drained()
    old.stop()
    old.quotes(rows[third : 2 * third])  # nobody has taken these yet

    new = desks(way[1])
    moved = carried(old, new)
    assert (moved.before, moved.after, moved.left_behind) == (*way, 0)
    assert groups.group_offsets(new.config, "signals", QUOTES.name) == dict.fromkeys(range(way[1]), 0)
    assert positions(old) == positions(new)
    assert old.counters("execution") == new.counters("execution")
    assert old.counters("signals") == new.counters("signals")
    new.start_all()
    new.quotes(rows[2 * third :])
    wait_until(lambda: ended(new), "the end of the feed")
    new.stop()

    wanted = undisturbed(rows)
    trades = [*old.trades(), *new.trades()]
    assert new.trades() and old.trades()
    assert trades_hash(trades) == trades_hash(wanted.published("trades"))
    assert positions(new) == wanted.latest("positions")
    assert new.pnl() == wanted.latest("pnl")
    counted, expected = new.counters("signals"), wanted.counters()
    assert counted["used"] == expected["used"] and not counted["dead_lettered"]


def positions(desk: Pipeline) -> dict[str, Any]:
    return desk.table("positions")


def ended(desk: Pipeline) -> bool:
    for each in desk.running:
        if each.errors:
            raise each.errors[0]
    done = {e["symbol"] for e in desk.records("executions") if e["reason"] == "END"}
    return done == set(market.SYMBOLS) and desk.counters("portfolio")["used"] > 0 and pnl_is_up_to_date(desk)


def pnl_is_up_to_date(desk: Pipeline) -> bool:
    last = {e["symbol"]: e["ts"] for e in desk.records("executions")}
    return {symbol: row["ts"] for symbol, row in desk.pnl().items()} == last


def test_controls_keep_their_offsets_whatever_compaction_has_left(desks: Callable[..., Pipeline]) -> None:
    """A control's version is its offset: trades name it, tables hold it."""
    old = desks(3)
    change(old, CONTROLS, **{"segment.ms": "1", "min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "1"})
    left = [1, 2, 4, 7, 8, 20, 22, 23]  # gaps of one, two and many, and one before the first
    for offset in range(24):
        key = b"S%d" % offset if offset in left and offset != 22 else b"changed often"
        old.publish(CONTROLS.name, [(0, key, encode_control(Control(max_position_dollars=1000.0 + offset)))])
    wait_until(lambda: [offset for offset, *_ in content(old.config)] == left, "compaction")
    new = desks(2)
    topics.create(new.admin, new.config, TOPICS.values(), 2, 1)
    end = carry.copy_exactly(old.config, new.config, CONTROLS)
    filled, *rest = content(new.config)
    assert rest == content(old.config)
    assert filled[:3] == (0, b"S1", None)
    ends = [topics.ends(desk.admin, desk.config.name(CONTROLS.name), [0])[0] for desk in (old, new)]
    assert ends == [end, end]


def change(desk: Pipeline, topic: Topic, **settings: str) -> None:
    """Change a topic's settings as an operator would."""
    changes = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in settings.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, desk.config.name(topic.name), incremental_configs=changes)
    for future in desk.admin.incremental_alter_configs([resource]).values():
        future.result()


def content(config: KafkaConfig) -> list[tuple[int, bytes, bytes | None, int]]:
    return [(m.offset(), m.key(), m.value(), m.timestamp()[1]) for m in read_whole(config, CONTROLS.name)]


def test_a_desk_at_work_is_refused(desks: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KafkaConfig, "session_seconds", 0.0)
    old = desks(2)
    old.control("AAPL", CONTROL)
    old.quotes(market.quotes(seconds=30))
    signals = old.start("signals")
    old.start("execution")
    wait_until(lambda: bool(old.checkpoints("execution")), "the agents to work")
    with pytest.raises(BadConfiguration, match=r"agents are at work .*1 signals, 1 execution.*stop them first"):
        carried(old, desks(3))
    signals.stop()
    old.stop()


def test_signals_that_nobody_has_executed_are_refused(desks: Callable[..., Pipeline]) -> None:
    old = desks(2)
    old.control("AAPL", CONTROL)
    old.quotes(market.quotes(seconds=30))
    old.start("signals")
    wait_until(lambda: bool(old.records(SIGNALS.name)), "a signal")
    old.stop()
    with pytest.raises(BadConfiguration, match=r"execution has not taken all of .*signals"):
        carried(old, desks(3))


def test_a_prefix_in_use_is_refused_and_left_as_it_is(desks: Callable[..., Pipeline]) -> None:
    old, new = desks(2), desks(3)
    topics.create(new.admin, new.config, TOPICS.values(), 3, 1)
    new.control("AAPL", CONTROL)
    with pytest.raises(BadConfiguration, match=r"14 topics exist already under .*choose a prefix that nobody uses"):
        carried(old, new)
    assert len(new.records(CONTROLS.name)) == 1
    with pytest.raises(BadConfiguration, match="is the prefix that the desk has"):
        carried(old, old)


def test_a_desk_that_is_not_there_is_told(desks: Callable[..., Pipeline]) -> None:
    there = desks(2)
    elsewhere = KafkaConfig(there.bootstrap, f"{there.prefix}none-")
    with pytest.raises(MissingTopics, match=r"no desk has the prefix '.*none-': --prefix, or MM_PREFIX"):
        repartition(elsewhere, desks(3).config, 3, Settings())
    with pytest.raises(BadConfiguration, match=r"the prefix 'no good!': use letters"):
        KafkaConfig(there.bootstrap, "no good!")


def test_a_whole_desk_is_not_carried_over_again(desks: Callable[..., Pipeline]) -> None:
    old, new = desks(2), desks(3)
    carried(old, new)
    with pytest.raises(BadConfiguration, match="topics exist already"):
        carried(old, new)


def test_quotes_that_come_meanwhile_are_not_lost(
    desks: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = desks(2), desks(3)
    rows = list(market.quotes(seconds=10, end=False))
    old.quotes(rows[:20])
    begin_groups = carry.begin_groups

    def late(*arguments: Any) -> None:
        old.quotes(rows[20:])
        begin_groups(*arguments)

    monkeypatch.setattr(carry, "begin_groups", late)
    with pytest.raises(BadConfiguration, match=r"records have come .*stop what writes them"):
        carried(old, new)
    with pytest.raises(BadConfiguration, match="not whole yet"):
        new.start("signals").thread.join(60)
        new.stop()
    new.running.clear()
    monkeypatch.undo()
    assert carried(old, new).pending == len(list(new.messages(QUOTES.name)))


@pytest.mark.parametrize("step", ["prepare", "write", "finish"])
def test_killed_at_any_step_it_is_run_again(step: str, desks: Callable[..., Pipeline]) -> None:
    """SIGKILL in a process of its own, behind a step or instead of the last one, then the command once more."""
    rows = list(market.quotes(seconds=40))
    old = desks(2)
    for symbol in market.SYMBOLS:
        old.control(symbol, CONTROL)
    old.quotes(rows[: len(rows) // 2])
    old.start_all()
    old.wait_until_drained()
    old.stop()
    old.quotes(rows[len(rows) // 2 :])
    new = desks(3)
    program = KILLED.format(step=step)
    arguments = [old.bootstrap, old.prefix, new.prefix]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, timeout=120)
    assert done.returncode == -9, done.stderr.decode()
    command = [sys.executable, "-m", "agents.cli", "topics", "repartition", "--partitions=3", f"--to={new.prefix}"]
    place = [f"--bootstrap={old.bootstrap}", f"--prefix={old.prefix}"]
    again = subprocess.run([*command, *place], capture_output=True, text=True, timeout=120, env=os.environ)
    assert again.returncode == 0, again.stderr
    assert f"from 2 to 3 partitions; go on with MM_PREFIX={new.prefix}" in again.stdout
    new.start_all()
    wait_until(lambda: ended(new), "the end of the feed")
    new.stop()
    assert trades_hash([*old.trades(), *new.trades()]) == trades_hash(undisturbed(rows).published("trades"))


KILLED = """
import os, signal, sys
from agents.repartition.run import repartition
from agents.strategy.settings import Settings
from agents.stream import carry
from agents.stream.config import KafkaConfig

def killed(*arguments, **more):
    if "{step}" != "finish":
        done(*arguments, **more)
    os.kill(os.getpid(), signal.SIGKILL)

done = carry.{step}
carry.{step} = killed
bootstrap, old, new = sys.argv[1:]
repartition(KafkaConfig(bootstrap, old), KafkaConfig(bootstrap, new), 3, Settings())
"""


def test_topics_keep_the_settings_that_an_operator_has_given_them(desks: Callable[..., Pipeline]) -> None:
    old, new = desks(2), desks(3)
    change(old, QUOTES, **{"retention.ms": "172800000"})
    carried(old, new)
    for topic in (QUOTES, CHECKPOINTS):
        asked = [ConfigResource(ResourceType.TOPIC, desk.config.name(topic.name)) for desk in (old, new)]
        found = [future.result() for future in old.admin.describe_configs(asked).values()]
        values = [{name: entry.value for name, entry in each.items()} for each in found]
        assert values[0] == values[1]
