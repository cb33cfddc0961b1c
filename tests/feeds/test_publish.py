"""The publisher of many records: back-pressure, refusals, a broker that is gone."""

import time

import pytest

from agents.stream import publish, topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import NoBroker, StreamError
from agents.stream.publish import Publisher
from agents.stream.tail import last_records
from schemas.topics import QUOTES


def test_a_full_queue_holds_the_sender_back_and_loses_nothing(
    config: KafkaConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = KafkaConfig(config.bootstrap, config.prefix, {"message.timeout.ms": "20000"})
    monkeypatch.setattr(publish, "_MOST_WAITING", 100)
    publisher = Publisher(small, QUOTES)
    publisher.send((i % 2, None, b"%d" % i) for i in range(50_000))
    publisher.flush()
    publisher.close()
    values = {0: [], 1: []}
    for message in last_records(config, QUOTES, 50_000):
        values[message.partition()].append(int(message.value()))
    assert values == {0: list(range(0, 50_000, 2)), 1: list(range(1, 50_000, 2))}


def test_a_record_that_the_broker_refuses_is_an_error(config: KafkaConfig) -> None:
    publisher = Publisher(config, QUOTES)
    with pytest.raises(StreamError, match=r"cannot send to .*quotes: .*size"):
        publisher.send([(0, None, bytes(1 << 21))])
    publisher.close()


def test_records_that_are_not_delivered_are_an_error(config: KafkaConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "check", lambda *_: 99)
    publisher = Publisher(config, QUOTES)
    publisher.send([(98, None, b"nowhere")])
    with pytest.raises(StreamError, match=r"1 records to .*quotes were not delivered|cannot send to"):
        publisher.flush()
    publisher.close()


@pytest.mark.parametrize("stopping", [False, True])
def test_a_broker_that_is_gone_is_an_error(monkeypatch: pytest.MonkeyPatch, stopping: bool) -> None:
    monkeypatch.setattr(topics, "check", lambda *_: 1)
    patience = 60.0 if stopping else 0.2
    publisher = Publisher(KafkaConfig("127.0.0.1:1"), QUOTES, lambda: stopping, patience)
    publisher.send([(0, None, b"lost")])
    with pytest.raises(NoBroker, match="1 records were not delivered"):
        publisher.flush()
    publisher.close()


@pytest.mark.parametrize(
    ("patience", "properties"),
    [(0.5, {}), (3600.0, {"message.timeout.ms": "500"})],
    ids=["patience", "records that wait no longer"],
)
def test_a_sender_whose_queue_never_fills_is_told_of_a_broker_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, patience: float, properties: dict[str, str]
) -> None:
    monkeypatch.setattr(topics, "check", lambda *_: 1)
    publisher = Publisher(KafkaConfig("127.0.0.1:1", "", properties), QUOTES, patience_seconds=patience)
    sent = 0

    def send_for(seconds: float) -> None:
        nonlocal sent
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            publisher.send([(0, None, b"lost")])
            sent += 1
            time.sleep(0.01)

    with pytest.raises(NoBroker) as failure:
        send_for(60.0)
    assert str(failure.value).startswith(f"{sent} records were not delivered: no Kafka broker at 127.0.0.1:1")
    publisher.close()
