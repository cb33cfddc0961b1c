"""A broker that is away while a feed sends: what waits for it, and what the feed says when it stays away."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.stream import clients, publish, topics
from agents.stream.config import KafkaConfig
from agents.stream.publish import Publisher
from agents.stream.tail import last_records
from deploy.broker import Broker
from schemas.topics import QUOTES
from tests.integration.pipeline import wait_until

PATIENCE_SECONDS = 120.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """One of the test's own, with a topic for quotes and a record in it: the first takes a new broker its time."""
    with Broker(tmp_path) as running:
        config = KafkaConfig(running.bootstrap)
        topics.create(clients.admin(config), config, [QUOTES], 1, 1)
        publisher = Publisher(config, QUOTES)
        publisher.send([(0, None, b"first")])
        publisher.flush()
        publisher.close()
        yield running


def values(broker: Broker) -> list[bytes]:
    """What the topic holds."""
    return [message.value() or b"" for message in last_records(KafkaConfig(broker.bootstrap), QUOTES, 1_000_000)]


def test_what_was_sent_while_the_broker_was_away_comes_when_it_is_back(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Publisher(KafkaConfig(broker.bootstrap), QUOTES)
    numbers = iter(range(1_000_000))

    def send() -> None:
        publisher.send([(0, None, b"%d" % next(numbers))])

    def told_by_the_next(words: str) -> bool:
        send()
        return words in caplog.text

    with caplog.at_level(logging.INFO, logger="agents.stream"):
        send()
        publisher.flush()
        caplog.clear()
        monkeypatch.setattr(publish, "_TOLD_SECONDS", 0.5)
        broker.stop()
        wait_until(lambda: told_by_the_next(f"no Kafka broker at {broker.bootstrap} has taken a record"), "the warning")
        broker.start()
        wait_until(lambda: told_by_the_next("Kafka takes records again"), "the line after it")
        publisher.flush()
        publisher.close()
    assert values(broker)[1:] == [b"%d" % number for number in range(next(numbers))]
    assert caplog.text.count("has taken a record") == 1


def test_a_slow_feed_tells_of_a_broker_that_stays_away(broker: Broker) -> None:
    command = [sys.executable, "-m", "agents.cli", "feed", "synthetic", "--rate", "5", "--bootstrap", broker.bootstrap]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MM_")}
    environment["KAFKA_MESSAGE_TIMEOUT_MS"] = "15000"
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        wait_until(lambda: len(values(broker)) > 1, "what the feed sends")
        broker.stop()
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 3
    last = said.splitlines()[-1]
    assert last.startswith("mm: ")
    assert last.endswith(f"records were not delivered: no Kafka broker at {broker.bootstrap} took them in time")
