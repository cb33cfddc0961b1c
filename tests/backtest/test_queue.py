"""Which tasks are given out together, and what becomes of them when one fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.backtest.controls import same_for_all
from agents.backtest.errors import TasksFailed
from agents.backtest.queue import TaskQueue
from agents.backtest.task import run_task, tasks_of
from schemas.records import Control
from schemas.times import NS
from tests.backtest import market
from tests.backtest.helpers import plan_of, write_quotes

DATES = 5
CONTROLS = same_for_all(market.SYMBOLS, Control(max_position_dollars=8_000))


def queue_of(folder: Path, carry: bool) -> TaskQueue:
    """One task a date, all of the same size."""
    rows = [row for row in market.quotes() if row["ts"] < market.BLACK_FRIDAY - 3_600 * NS]
    for date in range(DATES):
        write_quotes(folder / "data", [row | {"ts": row["ts"] + date * 86_400 * NS} for row in rows])
    return TaskQueue(plan_of(folder / "data", folder / "work", CONTROLS, carry=carry), lambda progress: None)


@pytest.mark.parametrize("carry", [True, False])
def test_as_many_go_together_as_have_so_many_quotes(tmp_path: Path, carry: bool) -> None:
    queue = queue_of(tmp_path, carry)
    tasks = tasks_of(queue.plan)
    each = tasks[0].part.rows
    assert queue.next(3 * each + 1) == tasks[:3]
    # With carried state the fourth waits for the third.
    assert queue.next() == ([] if carry else [tasks[3]])
    queue.finished(tasks[:3])
    assert queue.next() == [tasks[3 if carry else 4]]
    assert (queue.progress.done, queue.progress.rows, queue.progress.latest) == (3, 3 * each, tasks[2].name)


def test_a_task_goes_alone_whatever_its_size(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, carry=True)
    assert queue.next(1) == tasks_of(queue.plan)[:1]


@pytest.mark.parametrize("carry", [True, False])
def test_one_that_fails_among_others_is_named_and_those_before_it_count(tmp_path: Path, carry: bool) -> None:
    queue = queue_of(tmp_path, carry)
    together = queue.next(queue.progress.rows_total)
    assert len(together) == DATES
    run_task(together[0])
    queue.failed(together, "no disk")
    with pytest.raises(TasksFailed) as error:
        queue.check()
    assert f"{together[1].name}: no disk" in str(error.value)
    assert ". 1 are done" in str(error.value)
    # The others do not depend on it, or wait behind it.
    assert queue.next(queue.progress.rows_total) == ([] if carry else together[2:])
    assert ("3 wait behind" in str(error.value)) == carry


def test_tasks_of_processes_that_have_not_told_yet_are_done_by_now(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, carry=True)
    together = queue.next(queue.progress.rows_total)
    run_task(together[0])
    run_task(together[1])
    assert queue.progress.done == 0
    assert queue.done_by_now() == 2
