"""Topics of a test's own."""

import pytest

from tests.kafka import Kafka
from tests.surveillance.worker import Desk


@pytest.fixture
def desk(kafka: Kafka, prefix: str) -> Desk:
    """All topics, under a prefix of the test's own."""
    desk = Desk(kafka.bootstrap, prefix)
    desk.create_topics()
    return desk
