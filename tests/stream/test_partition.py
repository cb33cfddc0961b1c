"""When the state of an assigned partition belongs into a transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from agents.stream.agent import Outputs
from agents.stream.config import KafkaConfig
from agents.stream.partition import WITHOUT_OUTPUT_SECONDS, HeldPartition
from agents.stream.restore import Stored
from schemas.topics import CHECKPOINTS, QUOTES, TRADES


class Batch:
    """One record."""

    first_offset, next_offset = 0, 1
    timestamps = np.array([1_000])


class Worker:
    """An agent and its task that do what `work` does with the outputs."""

    role, source, table, state_version, outputs = "worker", QUOTES, None, 1, (TRADES,)

    def __init__(self, work: Callable[[Outputs], None]) -> None:
        self._work = work

    def task(self, partition: int, partitions: int) -> Worker:
        return self

    def load(self, table: Mapping[bytes, bytes], progress: Any, counters: Mapping[str, int]) -> None: ...

    def process(self, batch: Batch, out: Outputs) -> None:
        self._work(out)

    def changed_rows(self) -> Iterable[Any]:
        return ()

    def progress(self) -> None: ...

    def counters(self) -> dict[str, int]:
        return {}


class Sent(list[str]):
    """The topics of what was sent, in place of the transactions."""

    def send(self, topic: str, *record: Any) -> None:
        self.append(topic)

    def send_many(self, topic: str, *records: Any) -> None:
        self.append(topic)


def held(work: Callable[[Outputs], None], sent: Sent) -> HeldPartition:
    return HeldPartition(Worker(work), KafkaConfig("nowhere"), "0", sent, 0, 1, Stored())  # type: ignore[arg-type]


def test_partition_without_input_is_never_stored() -> None:
    partition = held(lambda out: None, Sent())
    assert not partition.changed
    assert not partition.must_be_stored(time.monotonic() + 1_000)


@pytest.mark.parametrize(
    "work", [lambda out: None, lambda out: out.send_many(TRADES, [])], ids=["silent", "no records"]
)
def test_state_without_output_waits_and_is_stored_once(work: Callable[[Outputs], None]) -> None:
    sent = Sent()
    partition = held(work, sent)
    partition.process(Batch())  # type: ignore[arg-type]
    now = time.monotonic()
    assert partition.changed
    assert not partition.must_be_stored(now)
    assert partition.must_be_stored(now + WITHOUT_OUTPUT_SECONDS)
    assert partition.stored_position is None
    partition.store()
    assert sent == [CHECKPOINTS.name]
    assert partition.stored_position == 1
    assert not partition.must_be_stored(now + 1_000)


def test_state_goes_with_its_output() -> None:
    partition = held(lambda out: out.send(TRADES, "A", b"{}"), Sent())
    partition.process(Batch())  # type: ignore[arg-type]
    assert partition.must_be_stored(time.monotonic())
    partition.store()
    assert not partition.must_be_stored(time.monotonic() + 1_000)
