"""The mm command in this process, against a real broker, with a home and an environment of its own."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agents.cli import app
from agents.processes import kernels
from tests.kafka import Kafka

Mm = Callable[..., Result]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("MM_", "KAFKA_")) and name != "MM_TEST_BOOTSTRAP":
            monkeypatch.delenv(name)
    monkeypatch.setenv("MM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def compiled_kernels() -> None:
    """What agents would compile before they get ready, which takes minutes on a busy machine."""
    if not kernels.are_compiled():
        kernels.compile_all()


@pytest.fixture
def mm() -> Mm:
    """Runs a command line without a broker."""
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def on_kafka(kafka: Kafka, prefix: str, monkeypatch: pytest.MonkeyPatch, mm: Mm) -> Mm:
    """Runs a command line against the broker, with names of its own there."""
    monkeypatch.setenv("MM_BOOTSTRAP", kafka.bootstrap)
    monkeypatch.setenv("MM_PREFIX", prefix)
    return mm


@pytest.fixture
def on_topics(on_kafka: Mm) -> Mm:
    """The same with all topics created."""
    result = on_kafka("topics", "create", "--partitions", 2)
    assert result.exit_code == 0, result.stderr
    return on_kafka
