"""The reader behind the page, on a broker: which past it reads, and that it goes on with what comes."""

import time
from collections.abc import Callable

import pytest

from agents.stream import clients, recent, topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import MissingTopics, NoBroker
from agents.stream.groups import ASK_SECONDS, answer_of
from deploy.ports import free_port
from schemas.topics import CONTROLS, PNL, PREDS, QUOTES, TRADES
from tests.integration.pipeline import wait_until
from tests.kafka import Kafka

HOUR_MS = 3_600_000


@pytest.fixture
def config(kafka: Kafka, prefix: str) -> KafkaConfig:
    config = KafkaConfig(kafka.bootstrap, prefix)
    topics.create(clients.admin(config), config, [CONTROLS, PNL, PREDS, QUOTES, TRADES], 2, 1)
    return config


def write(config: KafkaConfig, topic: str, partition: int, value: str, age_ms: int = 0) -> None:
    producer = clients.producer(config)
    timestamp = int(time.time() * 1000) - age_ms
    name, told = config.name(topic), []
    producer.produce(name, value, value, partition, lambda error, _: told.append(error), timestamp=timestamp)
    assert producer.flush(30) == 0 and not any(told)


def read(reader: recent.RecentReader, enough: Callable[[list[str]], bool]) -> list[str]:
    got: list[str] = []

    def arrived() -> bool:
        got.extend(message.value().decode() for message in reader.poll(0.1))
        return enough(got)

    wait_until(arrived, "records", 30)
    return sorted(got)


def test_reads_what_is_recent_and_compacted_topics_whole(config: KafkaConfig) -> None:
    for partition in (0, 1):
        write(config, "preds", partition, f"old-{partition}", 2 * HOUR_MS)
        write(config, "preds", partition, f"new-{partition}", 60_000)
        write(config, "pnl", partition, f"pnl-{partition}", 2 * HOUR_MS)
    reader = recent.RecentReader(config, [PREDS, PNL, TRADES], 900)
    got = read(reader, lambda got: reader.caught_up and len(got) >= 4)
    assert got == ["new-0", "new-1", "pnl-0", "pnl-1"]
    write(config, "trades", 1, "live")
    assert read(reader, lambda got: len(got) >= 1) == ["live"]
    reader.close()


def test_recent_counts_from_a_topics_newest_record_not_from_now(config: KafkaConfig) -> None:
    write(config, "preds", 0, "long ago", 4 * HOUR_MS)
    write(config, "preds", 0, "before the end", 2 * HOUR_MS + 60_000)
    write(config, "preds", 0, "the end", 2 * HOUR_MS)
    reader = recent.RecentReader(config, [PREDS], 900)
    assert read(reader, lambda got: reader.caught_up) == ["before the end", "the end"]
    reader.close()


def test_records_since_reads_one_partition_to_its_end(config: KafkaConfig) -> None:
    write(config, "preds", 0, "old", 2 * HOUR_MS)
    write(config, "preds", 0, "new")
    write(config, "preds", 1, "other")
    assert [m.value() for m in recent.records_since(config, PREDS, 0, 900)] == [b"new"]
    assert [m.value() for m in recent.records_since(config, PREDS, 0, 86_400)] == [b"old", b"new"]
    assert list(recent.records_since(config, TRADES, 0, 900)) == []


def test_pulse_tells_the_ends(config: KafkaConfig) -> None:
    write(config, "quotes", 1, "one")
    pulse = recent.Pulse(config, [QUOTES, TRADES])

    def beats() -> bool:
        try:
            return pulse.ends() == {"quotes": {0: 0, 1: 1}, "trades": {0: 0, 1: 0}}
        except NoBroker:
            return False  # a machine at its limit answers later

    wait_until(beats, "the ends")


def test_missing_topics_and_broker_are_told(kafka: Kafka, prefix: str) -> None:
    with pytest.raises(MissingTopics, match="mm topics create"):
        recent.RecentReader(KafkaConfig(kafka.bootstrap, prefix), [PREDS], 900)
    with pytest.raises(NoBroker):
        recent.Pulse(KafkaConfig(f"127.0.0.1:{free_port()}", prefix), [QUOTES]).ends()


def test_what_a_transaction_gave_up_is_not_read(config: KafkaConfig) -> None:
    producer = clients.transactional_producer(config, "writer")
    producer.init_transactions(30)
    for value, end in (("aborted", producer.abort_transaction), ("committed", producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(config.name("preds"), value, value, 0)
        assert producer.flush(30) == 0
        end(30)
    reader = recent.RecentReader(config, [PREDS], 900)
    assert read(reader, lambda got: reader.caught_up and len(got) >= 1) == ["committed"]
    assert [m.value() for m in recent.records_since(config, PREDS, 0, 900)] == [b"committed"]
    reader.close()


def test_reader_has_no_group_on_the_broker(config: KafkaConfig) -> None:
    write(config, "preds", 0, "one")
    reader = recent.RecentReader(config, [PREDS], 900)
    read(reader, lambda got: len(got) >= 1)
    admin = clients.admin(config)
    listed = answer_of(lambda: admin.list_consumer_groups(request_timeout=ASK_SECONDS).result())
    assert [group.group_id for group in listed.valid if group.group_id.startswith(config.prefix)] == []
    reader.close()
