"""Fixtures of the page's tests: one desk with one dashboard for all tests that change nothing."""

import secrets
from collections.abc import Iterator

import pytest

from tests.dashboard.desk import Desk, running_desk
from tests.dashboard.serving import Served, served
from tests.kafka import Kafka


@pytest.fixture(scope="module")
def desk(kafka: Kafka) -> Iterator[Desk]:
    """A desk at work, shared by the tests of one file."""
    with running_desk(kafka.bootstrap, f"t{secrets.token_hex(3)}-") as desk:
        yield desk


@pytest.fixture(scope="module")
def dashboard(desk: Desk) -> Iterator[Served]:
    """A dashboard on the shared desk."""
    with served(desk.pipeline.bootstrap, desk.pipeline.prefix) as dashboard:
        yield dashboard
