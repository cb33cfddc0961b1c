"""Which tasks of a plan are left, and which of them can be done now."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agents.backtest.errors import TasksFailed
from agents.backtest.task import Plan, Task, tasks_of
from agents.stream.errors import BadConfiguration

log = logging.getLogger(__name__)
_RETRIES = 2


@dataclass
class Progress:
    """How far it is; rows are quotes. kept: tasks that an earlier run had done."""

    total: int
    rows_total: int
    done: int = 0
    kept: int = 0
    rows: int = 0
    latest: str = ""


Watcher = Callable[[Progress], None]


@dataclass
class TaskQueue:
    """Tasks that can be done now: with carried state those whose date before is done."""

    plan: Plan
    watch: Watcher
    failures: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tasks = tasks_of(self.plan)
        left = [task for task in self._tasks if not task.done]
        self.progress = Progress(
            total=len(self._tasks),
            rows_total=sum(task.part.rows for task in self._tasks),
            done=len(self._tasks) - len(left),
            kept=len(self._tasks) - len(left),
        )
        self.progress.rows = self.progress.rows_total - sum(task.part.rows for task in left)
        self._chains: dict[int, deque[Task]] = {}
        self._ready: deque[Task] = deque()
        for task in left:
            if self.plan.carry:
                self._chains.setdefault(task.part.block, deque()).append(task)
            else:
                self._ready.append(task)
        for chain in self._chains.values():
            self._ready.append(chain.popleft())

    def next(self, rows: int = 0) -> list[Task]:
        """Tasks to begin now, by one process one after another; none if there are none now.

        rows: how many quotes they may have together, where they are more than one.
        """
        if not self._ready:
            return []
        tasks = [self._ready.popleft()]
        rows -= tasks[0].part.rows
        following = self._behind(tasks[0])
        while following and following[0].part.rows <= rows:
            tasks.append(following.popleft())
            rows -= tasks[-1].part.rows
        return tasks

    def finished(self, tasks: Sequence[Task]) -> None:
        """Note that tasks that were given out together are done; the next one of their symbols may begin."""
        self._count(tasks)
        chain = self._chains.get(tasks[-1].part.block)
        if chain:
            self._ready.append(chain.popleft())
        self.watch(self.progress)

    def failed(self, tasks: Sequence[Task], why: str) -> None:
        """Note that the first one not done, of tasks that were given out together, has failed for good."""
        task = first_left(tasks)
        place = tasks.index(task)
        self._count(tasks[:place])
        behind = tasks[place + 1 :]
        log.error("task %s failed: %s", task.name, why)
        self.failures[task.name] = why
        self._behind(task).extendleft(reversed(behind))

    def done_by_now(self) -> int:
        """How many tasks are done, those of processes that have not yet told it among them."""
        return sum(task.done for task in self._tasks)

    def check(self) -> None:
        """Raise TasksFailed if any has."""
        if self.failures:
            waiting = sum(len(chain) for chain in self._chains.values())
            raise TasksFailed(self.failures, self.progress.done, self.progress.total, waiting)

    def _behind(self, task: Task) -> deque[Task]:
        """The tasks that the same process may go on with."""
        return self._chains[task.part.block] if self.plan.carry else self._ready

    def _count(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self.progress.done += 1
            self.progress.rows += task.part.rows
            self.progress.latest = task.name


def first_left(tasks: Sequence[Task]) -> Task:
    """The first of tasks that is not done; the last one where all are."""
    return next((task for task in tasks if not task.done), tasks[-1])


def may_retry(task: Task, error: BaseException, attempt: int) -> bool:
    """Whether a task that failed is to be tried again, its first attempt being number 0."""
    # A file that cannot be used will not get better.
    if isinstance(error, BadConfiguration) or attempt >= _RETRIES:
        return False
    log.warning("task %s failed (%s), trying again", task.name, told(error))
    return True


def told(error: BaseException) -> str:
    """An error in words."""
    return f"{type(error).__name__}: {error}"
