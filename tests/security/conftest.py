"""A secured broker for the tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.security.secured import Secured, secured_broker


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """An embedded broker, whatever Kafka the other tests use: it needs settings of its own."""
    with secured_broker(tmp_path_factory.mktemp("secured")) as running:
        yield running
