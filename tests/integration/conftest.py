"""Pipelines for the tests of this folder."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.pipeline import Pipeline
from tests.kafka import Kafka


@pytest.fixture
def pipeline(kafka: Kafka, prefix: str) -> Iterator[Callable[..., Pipeline]]:
    """Makes pipelines with topics of their own; stops their agents at the end."""
    made: list[Pipeline] = []

    def make(create_topics: bool = True, **options: Any) -> Pipeline:
        made.append(Pipeline(kafka.bootstrap, f"{prefix}{len(made)}-", **options))
        if create_topics:
            made[-1].create_topics()
        return made[-1]

    yield make
    for each in made:
        each.stop()
