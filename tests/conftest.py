"""Fixtures for every test: a real Kafka, and names of one's own on it."""

import contextlib
import os
import secrets
import signal

import pytest

from tests.browser import browser, chromium, context, page, playwright
from tests.kafka import Kafka, running_kafka, shared_kafka

# One definition for all folders: a second Playwright in one process does not start.
__all__ = ["browser", "chromium", "context", "page", "playwright"]


def pytest_configure() -> None:
    """Let Ctrl-C reach what tests start: a background job of a shell ignores it, and so would its children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_kafka = contextlib.ExitStack()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Kafka:
    """A Kafka with default settings, one for the whole run, all workers of pytest-xdist included."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return _kafka.enter_context(shared_kafka(tmp_path_factory.getbasetemp().parent))
    return _kafka.enter_context(running_kafka())


def pytest_unconfigure() -> None:
    """End the Kafka: not with the last test of a worker, which may have to wait for longer than a test may take."""
    _kafka.close()


@pytest.fixture
def prefix() -> str:
    """What a test puts before its topics, groups and transactional ids, so that none meets another's."""
    return f"t{secrets.token_hex(3)}-"
