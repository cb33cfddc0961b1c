"""Running the tasks of a plan: in this process, or by many workers through Dask."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import logging
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agents.backtest.errors import Interrupted, TasksFailed
from agents.backtest.task import Plan, Task, fingerprint, run_task, tasks_of
from agents.stream.errors import BadConfiguration

log = logging.getLogger(__name__)
_RETRIES = 2
_WAITING_PER_WORKER = 3
_FINGERPRINT = "plan.json"


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


def prepare(plan: Plan, fresh: bool) -> Plan:
    """The plan in a folder of its own below the one that it names, where a run of the same plan goes on.

    fresh: forget what an earlier run has done.
    """
    text = fingerprint(plan)
    folder = plan.folder / hashlib.sha256(text.encode()).hexdigest()[:16]
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _FINGERPRINT).write_text(text)
    except OSError as error:
        raise BadConfiguration(f"cannot write to {folder}: {error}") from error
    return replace(plan, folder=folder)


def run(plan: Plan, workers: int, scheduler: str | None = None, watch: Watcher = lambda progress: None) -> None:
    """Do all tasks that are not done yet. Raises TasksFailed or Interrupted; then the same call goes on.

    workers: processes on this machine, 1 for none but this one; scheduler: address of a Dask scheduler instead, whose
    workers see the same files and folder.
    """
    queue = _Queue(plan, watch)
    try:
        watch(queue.progress)
        if scheduler is None and workers == 1:
            for task in queue:
                _run_here(task, queue)
        else:
            _run_there(queue, workers, scheduler)
    except KeyboardInterrupt:
        raise Interrupted(queue.progress.done, queue.progress.total) from None
    queue.check()


@dataclass
class _Queue:
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

    def __iter__(self) -> Iterator[Task]:
        while self._ready:
            yield self._ready.popleft()

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

    def failed(self, task: Task, error: BaseException) -> None:
        """Note that a task has failed for good."""
        log.error("task %s failed: %s", task.name, error)
        self.failures[task.name] = f"{type(error).__name__}: {error}"

    def check(self) -> None:
        """Raise TasksFailed if any has."""
        if self.failures:
            waiting = sum(len(chain) for chain in self._chains.values())
            raise TasksFailed(self.failures, self.progress.done, self.progress.total, waiting)


def _may_retry(task: Task, error: BaseException, attempt: int) -> bool:
    # A file that cannot be used will not get better.
    if isinstance(error, BadConfiguration) or attempt >= _RETRIES:
        return False
    log.warning("task %s failed (%s: %s), trying again", task.name, type(error).__name__, error)
    return True


def _run_here(task: Task, queue: _Queue) -> None:
    attempt = 0
    while True:
        try:
            run_task(task)
        except Exception as error:
            if _may_retry(task, error, attempt):
                attempt += 1
                continue
            queue.failed(task, error)
        else:
            queue.finished(task)
        return


def _run_there(queue: _Queue, workers: int, scheduler: str | None) -> None:
    """Feed a few tasks a worker at a time, so that memory does not grow with the number of dates."""
    distributed: Any = importlib.import_module("distributed")

    for name in ("distributed", "tornado", "bokeh"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with _cluster(workers, scheduler) as address, _client(distributed, address) as client:
        limit = _WAITING_PER_WORKER * max(1, len(client.scheduler_info()["workers"]) if scheduler else workers)
        running: dict[Any, tuple[Task, int]] = {}
        completed = distributed.as_completed()

        def submit(task: Task, attempt: int) -> None:
            future = client.submit(run_task, task, key=f"{task.name} #{attempt}", pure=False)
            running[future] = task, attempt
            completed.add(future)

        def fill() -> None:
            while len(running) < limit:
                task = queue.next()
                if task is None:
                    return
                submit(task, 0)

        fill()
        while running:
            future = next(completed)
            task, attempt = running.pop(future)
            error = future.exception() if future.status != "finished" else None
            if error is None:
                queue.finished(task)
            elif _may_retry(task, error, attempt):
                submit(task, attempt + 1)
            else:
                queue.failed(task, error)
            fill()


def _cluster(workers: int, scheduler: str | None) -> Any:
    """The address of a scheduler, of a cluster on this machine where none is given, for a `with` block."""

    @contextlib.contextmanager
    def local() -> Iterator[str]:
        import dask

        distributed: Any = importlib.import_module("distributed")
        # On a busy machine a worker takes its time to come up.
        patient = {"distributed.comm.timeouts.connect": "60s", "distributed.admin.tick.limit": "60s"}
        with (
            dask.config.set(patient),
            distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                memory_limit=None,
                silence_logs=logging.CRITICAL,
            ) as cluster,
        ):
            yield cluster.scheduler_address

    return contextlib.nullcontext(scheduler) if scheduler else local()


def _client(distributed: Any, address: str) -> Any:
    try:
        return distributed.Client(address, timeout="20s")
    except (OSError, ValueError, TimeoutError) as error:
        raise BadConfiguration(f"no Dask scheduler answers at {address}: {error}") from error


def default_folder(home: Path) -> Path:
    """Where backtests keep what they have done."""
    return home / "backtests"
