"""Every contestant over a small load on a real Kafka; what they cost is of no interest here."""

import secrets
import shutil
from collections.abc import Iterator

import pytest

from agents.stream.config import KafkaConfig
from benchmarks import contestants, java_programs, latency, peers_environment
from benchmarks.contestants import ORIGINALS_RULES, Auditor, Contestant, audited, signals_agent
from benchmarks.java_programs import JavaPrograms
from benchmarks.latency import Paced
from benchmarks.quotes import Load, Written, forget, write
from tests.kafka import Kafka

LOAD = Load(4_000, symbols=10, partitions=2)


@pytest.fixture(scope="module")
def written(kafka: Kafka) -> Iterator[Written]:
    config = KafkaConfig(kafka.bootstrap, f"bench-{secrets.token_hex(3)}-")
    yield write(config, LOAD)
    forget(config)


@pytest.fixture(scope="module")
def auditor(written: Written) -> Auditor:
    auditor = Auditor()
    cost = audited(signals_agent("ours", *ORIGINALS_RULES), auditor).run(written)
    assert cost.whole.quotes > 0
    return auditor


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> JavaPrograms:
    if shutil.which("javac") is None:
        pytest.skip("no JDK")
    return java_programs.compiled(tmp_path_factory.mktemp("classes"))


def runs(contestant: Contestant, written: Written) -> None:
    cost = contestant.run(written)
    assert 0 < cost.whole.quotes <= written.quotes
    assert cost.peak_bytes > 0


def test_the_load_is_known(written: Written) -> None:
    assert len(written.last_ts) == LOAD.symbols
    clocks = written.records - written.quotes
    assert LOAD.partitions * (LOAD.seconds - 1) <= clocks <= LOAD.partitions * (LOAD.seconds + 1)


@pytest.mark.parametrize("kind", ["consume", "librdkafka"])
def test_bare_consumption(written: Written, kind: str) -> None:
    runs(contestants.bare(kind), written)


def test_javas_bare_consumer(written: Written, programs: JavaPrograms) -> None:
    runs(contestants.bare_java(programs), written)


def test_two_signals_processes_share_the_work(written: Written) -> None:
    runs(signals_agent("two", "marks=off", instances=2), written)


def test_kafka_streams_agrees(written: Written, programs: JavaPrograms, auditor: Auditor) -> None:
    runs(contestants.kafka_streams(programs, 1, auditor), written)


def test_quix_streams_agrees(written: Written, auditor: Auditor) -> None:
    runs(contestants.quix_streams(peers_environment.python(), auditor), written)


def test_faust_agrees(written: Written, auditor: Auditor) -> None:
    runs(contestants.faust(auditor), written)


def test_kafka_streams_decides_and_trades_as_often_as_the_agents(
    kafka: Kafka, prefix: str, programs: JavaPrograms
) -> None:
    paced = Paced(KafkaConfig(kafka.bootstrap, prefix), rate=500.0, symbols=5)
    # Each decision has its signal and execution, and its trade where there is one, or this fails.
    found = paced.run(latency.kafka_streams(programs), seconds=3.0, warm_up=5.0)
    assert found["signal"]["how many"] >= 5 * 2
    assert 0 < found["trade"]["how many"] <= found["signal"]["how many"]
