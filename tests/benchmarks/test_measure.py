import sys
from collections.abc import Iterator

import pytest

from benchmarks.measure import watch
from benchmarks.processes import Running, running

ENDLESS = "while True: pass"


@pytest.fixture
def busy() -> Iterator[Running]:
    with running("a busy loop", [sys.executable, "-c", ENDLESS], {}) as process:
        yield process


def test_what_was_done_before_the_first_progress_does_not_count(busy: Running) -> None:
    done = iter([0, 0, 40, 45, 70, 100])
    cost = watch([busy], lambda: next(done), total=100, quotes=200)
    assert cost.whole.quotes == 120
    assert cost.half.quotes == 60
    assert cost.whole.seconds > cost.half.seconds > 0
    assert cost.whole.cpu_seconds >= cost.half.cpu_seconds
    assert cost.peak_bytes > 1_000_000


def test_a_run_that_is_over_at_its_first_progress_counts_from_the_start(busy: Running) -> None:
    done = iter([0, 100])
    cost = watch([busy], lambda: next(done), total=100, quotes=100)
    assert cost.whole.quotes == cost.half.quotes == 100


def test_figures_are_per_second_and_per_million(busy: Running) -> None:
    done = iter([1, 50, 101])
    cost = watch([busy], lambda: next(done), total=101, quotes=101)
    figures = cost.figures()
    assert figures["thousand quotes/s"] == pytest.approx(0.1 / cost.whole.seconds)
    assert figures["CPU s per million"] == pytest.approx(cost.whole.cpu_seconds * 10_000)


def test_a_process_that_ends_is_told_with_its_last_words() -> None:
    with running("a peer", [sys.executable, "-c", "raise SystemExit('no such broker')"], {}) as process:
        process.process.wait()
        with pytest.raises(RuntimeError, match="a peer ended with 1: no such broker"):
            watch([process], lambda: 0, total=1, quotes=1)
