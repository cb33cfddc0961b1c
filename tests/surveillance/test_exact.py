"""Sums stay exact: after kill -9, across rebalances, on topics with gaps, and with repeated or late records."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.stream import clients
from schemas.topics import TRADES
from tests.integration.pipeline import wait_until
from tests.surveillance.worker import (
    DEADLINE_SECONDS,
    SYMBOLS,
    T0,
    Desk,
    Worker,
    pnl,
    seen,
    sums,
    together,
    trade,
    trades,
)


def wait_for(worker: Worker, expected: dict[str, dict[str, float]]) -> None:
    try:
        wait_until(lambda: seen(worker) == expected, "the sums", DEADLINE_SECONDS)
    except AssertionError:
        assert seen(worker) == expected, worker.log()
        raise


class Stream(threading.Thread):
    """Trades at a steady rate until it is stopped."""

    def __init__(self, desk: Desk, per_second: float) -> None:
        super().__init__(daemon=True)
        self._desk, self._per_second = desk, per_second
        self._stop_asked = threading.Event()
        self.written: list[object] = []
        self.start()

    def run(self) -> None:
        producer = clients.transactional_producer(self._desk.config, "stream")
        producer.init_transactions(DEADLINE_SECONDS)
        number = 0
        while not self._stop_asked.wait(0.05):
            batch = list(trades(max(1, int(self._per_second * 0.05)), number))
            number += len(batch)
            producer.begin_transaction()
            for record in batch:
                self._desk.produce(producer, TRADES.name, record)
            producer.commit_transaction(DEADLINE_SECONDS)
            self.written += batch

    def stop(self) -> list[object]:
        assert self.is_alive() or self._stop_asked.is_set(), "the stream of trades has ended by itself"
        self._stop_asked.set()
        self.join(DEADLINE_SECONDS)
        assert not self.is_alive()
        return self.written


@pytest.fixture
def stream(desk: Desk) -> Iterator[Stream]:
    stream = Stream(desk, per_second=200)
    yield stream
    stream.stop()


def test_sums_are_exact_after_kill_9_in_the_middle(desk: Desk, stream: Stream, tmp_path: Path) -> None:
    for _ in range(3):
        with Worker(desk, tmp_path) as worker:
            wait_until(lambda: worker.counts("trades").get("used", 0) > 100, "records to be taken")
            worker.kill()
    written = stream.stop()
    with Worker(desk, tmp_path) as worker:
        wait_for(worker, sums(written))
        # the table's offset, not the group's, is what keeps them exact: some had been applied and not committed
        assert worker.counts("trades").get("used", 0) < len(written)


def test_sums_are_exact_across_rebalances_from_one_worker_to_two_and_back(
    desk: Desk, stream: Stream, tmp_path: Path
) -> None:
    with Worker(desk, tmp_path, "0") as first:
        wait_until(lambda: first.counts("trades").get("used", 0) > 100, "records to be taken")
        with Worker(desk, tmp_path, "1") as second:
            wait_until(lambda: second.counts("trades").get("used", 0) > 100, "the second to take records")
            assert first.page("/health")["partitions"] != second.page("/health")["partitions"]
            assert second.stop() == 0
        before = first.counts("trades").get("used", 0)
        wait_until(lambda: first.page("/health").get("partitions") == [0, 1], "the first to hold all again")
        wait_until(lambda: first.counts("trades").get("used", 0) > before + 100, "the first to take records again")
        wait_for(first, sums(stream.stop()))


def test_two_workers_hold_each_symbol_once(desk: Desk, tmp_path: Path) -> None:
    written = list(trades(500))
    desk.write(TRADES.name, written)
    with Worker(desk, tmp_path, "0") as first, Worker(desk, tmp_path, "1") as second:
        wait_until(lambda: first.ready() and second.ready(), "both to be ready")
        wait_until(lambda: together(first, second) == sums(written), "the sums of both together", DEADLINE_SECONDS)


def test_aborted_transactions_leave_no_trace(desk: Desk, tmp_path: Path) -> None:
    batches = [(list(trades(20, number)), number % 60 != 0) for number in range(0, 1200, 20)]
    desk.write_transactions(TRADES.name, batches)
    with Worker(desk, tmp_path) as worker:
        wait_for(worker, sums(record for records, committed in batches if committed for record in records))

        # the commit goes to the end, over the gaps of markers and aborted records
        def at_the_end() -> bool:
            committed, ends = desk.committed(TRADES.name), desk.ends(TRADES.name)
            return all(ends[p] - committed[p] <= 25 for p in ends)

        wait_until(at_the_end, "the group's offsets to come near the end", DEADLINE_SECONDS)


def test_gaps_of_compaction_are_crossed(desk: Desk, tmp_path: Path) -> None:
    desk.admin.delete_topics([desk.config.name("pnl")])[desk.config.name("pnl")].result()
    from confluent_kafka.admin import NewTopic

    settings = {
        "cleanup.policy": "compact",
        "segment.bytes": str(1 << 20),
        "segment.ms": "1000",
        "min.cleanable.dirty.ratio": "0.001",
        "max.compaction.lag.ms": "1000",
    }

    def created() -> bool:
        topic = NewTopic(desk.config.name("pnl"), desk.partitions, 1, config=settings)
        return desk.admin.create_topics([topic])[desk.config.name("pnl")].exception() is None

    wait_until(created, "the compacted topic")
    nets = dict.fromkeys(SYMBOLS, 0.0)
    number = 0

    def compacted() -> bool:
        # a write now and then, because only what lies before the active segment is compacted
        nonlocal number
        batch = []
        for _ in range(200):
            symbol = SYMBOLS[number % len(SYMBOLS)]
            nets[symbol] = float(number % 7)
            batch.append(pnl(symbol, T0 + number, nets[symbol]))
            number += 1
        desk.write("pnl", batch)
        time.sleep(0.5)
        return len(desk.messages("pnl")) < number - 600

    wait_until(compacted, "compaction to make gaps", DEADLINE_SECONDS)
    kept = len(desk.messages("pnl"))
    with Worker(desk, tmp_path) as worker:
        wait_until(lambda: worker.counts("pnl").get("used", 0) >= min(kept, 200), "what is left to be taken")
        wait_until(lambda: desk.committed("pnl") == desk.ends("pnl"), "the offsets to reach the end", DEADLINE_SECONDS)


def test_a_frozen_worker_spoils_nothing(desk: Desk, stream: Stream, tmp_path: Path) -> None:
    with Worker(desk, tmp_path, "0") as first, Worker(desk, tmp_path, "1") as second:
        for worker in (first, second):
            wait_until(lambda worker=worker: worker.counts("trades").get("used", 0) > 50, "records to be taken")
        first.signal(signal.SIGSTOP)
        wait_until(lambda: second.page("/health").get("partitions") == [0, 1], "the second to take over")
        first.signal(signal.SIGCONT)
        wait_until(
            lambda: first.ready() and second.ready() and len(first.page("/health").get("partitions", [])) == 1,
            "the first to be back",
        )
        written = stream.stop()
        wait_until(lambda: together(first, second) == sums(written), "the sums of both together", DEADLINE_SECONDS)


def test_a_table_of_another_topic_is_refused(desk: Desk, tmp_path: Path) -> None:
    desk.write(TRADES.name, list(trades(100)))
    with Worker(desk, tmp_path) as worker:
        wait_for(worker, sums(trades(100)))
        assert worker.stop() == 0
    name = desk.config.name(TRADES.name)
    desk.admin.delete_topics([name])[name].result()
    wait_until(lambda: name not in desk.admin.list_topics(timeout=10).topics, "the topic to be gone")
    desk.create_topics()
    desk.write(TRADES.name, [trade("AAPL", 1)])
    with Worker(desk, tmp_path, wait_ready=False) as worker:
        assert worker.process.wait(DEADLINE_SECONDS) == 6, worker.log()
        assert f"delete these to begin anew: {desk.prefix}surveillance-trades-changelog" in worker.log()
        assert "Traceback" not in worker.log()
