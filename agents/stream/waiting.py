"""Waiting for a broker and its topics, so that processes may be started in any order."""

from __future__ import annotations

import time

from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import MissingTopics, NoBroker, StreamError
from schemas.topics import TOPICS

_BETWEEN_SECONDS = 0.1


def wait_for_topics(config: KafkaConfig, seconds: float) -> None:
    """Return when all topics are there. Raises NoBroker or MissingTopics after that time."""
    deadline = time.monotonic() + seconds
    admin = clients.admin(config)
    while True:
        try:
            topics.check(admin, config, TOPICS.values())
            return
        except (NoBroker, MissingTopics) as error:
            if time.monotonic() >= deadline:
                raise _after(error, seconds) from error
        time.sleep(_BETWEEN_SECONDS)


def _after(error: StreamError, seconds: float) -> StreamError:
    return type(error)(f"{error} (waited {seconds:.0f} s)") if seconds else error
