"""A quotes topic of one's own on a real broker."""

import pytest

from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from schemas.topics import QUOTES
from tests.feeds.topic import PARTITIONS
from tests.kafka import Kafka


@pytest.fixture
def config(kafka: Kafka, prefix: str) -> KafkaConfig:
    config = KafkaConfig(kafka.bootstrap, prefix)
    topics.create(clients.admin(config), config, [QUOTES], PARTITIONS, 1)
    return config
