"""Which tasks of a plan are left, and which of them can be done now."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
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
        tasks = tasks_of(self.plan)
        left = [task for task in tasks if not task.done]
        self.progress = Progress(
            total=len(tasks),
            rows_total=sum(task.part.rows for task in tasks),
            done=len(tasks) - len(left),
            kept=len(tasks) - len(left),
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

    def next(self) -> Task | None:
        """A task to begin, None if there is none now."""
        return self._ready.popleft() if self._ready else None

    def finished(self, task: Task) -> None:
        """Note that a task is done; the next one of its symbols may begin."""
        self.progress.done += 1
        self.progress.rows += task.part.rows
        self.progress.latest = task.name
        chain = self._chains.get(task.part.block)
        if chain:
            self._ready.append(chain.popleft())
        self.watch(self.progress)

    def failed(self, task: Task, why: str) -> None:
        """Note that a task has failed for good."""
        log.error("task %s failed: %s", task.name, why)
        self.failures[task.name] = why

    def check(self) -> None:
        """Raise TasksFailed if any has."""
        if self.failures:
            waiting = sum(len(chain) for chain in self._chains.values())
            raise TasksFailed(self.failures, self.progress.done, self.progress.total, waiting)


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
