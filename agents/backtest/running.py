"""Running the tasks of a plan: in this process, or by many workers through Dask."""

from __future__ import annotations

from pathlib import Path

from agents.backtest.errors import Interrupted
from agents.backtest.queue import TaskQueue, Watcher, may_retry, told
from agents.backtest.task import Plan, Task, remove, run_task
from agents.stream.errors import BadConfiguration


def forget(plan: Plan) -> None:
    """Have everything done again by the next run. Raises BadConfiguration."""
    for folder in plan.folders.values():
        try:
            remove(folder)
        except OSError as error:
            raise BadConfiguration(f"cannot delete {folder}: {error}") from error


def run(plan: Plan, workers: int, scheduler: str | None = None, watch: Watcher = lambda progress: None) -> None:
    """Do all tasks that are not done yet. Raises TasksFailed, SchedulerLost or Interrupted; then the same call goes on.

    workers: processes on this machine, 1 for none but this one; scheduler: address of a Dask scheduler instead, whose
    workers see the same files and folder.
    """
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadConfiguration(f"cannot write to {plan.folder}: {error}") from error
    queue = TaskQueue(plan, watch)
    try:
        watch(queue.progress)
        if queue.progress.done == queue.progress.total:
            return
        if scheduler is None and workers == 1:
            while tasks := queue.next():
                _run_here(tasks[0], queue)
        else:
            from agents.backtest.workers import run_by_workers

            run_by_workers(queue, workers, scheduler)
    except KeyboardInterrupt:
        raise Interrupted(queue.done_by_now(), queue.progress.total) from None
    queue.check()


def _run_here(task: Task, queue: TaskQueue) -> None:
    attempt = 0
    while True:
        try:
            run_task(task)
        except Exception as error:
            if may_retry(task, error, attempt):
                attempt += 1
                continue
            queue.failed([task], told(error))
        else:
            queue.finished([task])
        return


def default_folder(home: Path) -> Path:
    """Where backtests keep what they have done."""
    return home / "backtests"
