"""Tasks by worker processes through Dask: some on this machine, or those of a scheduler anywhere."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import logging
import queue
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from agents.backtest import fork_server
from agents.backtest.errors import SchedulerLost
from agents.backtest.queue import TaskQueue, first_left, may_retry, told
from agents.backtest.task import Task, run_task
from agents.stream.errors import BadConfiguration

log = logging.getLogger(__name__)
_WAITING_PER_WORKER = 3
_ROWS_TOGETHER = 8_000_000
_SHARES_PER_WORKER = 8
_LOOK_SECONDS = 2.0
_CHATTY = ("distributed", "distributed.client", "tornado", "bokeh")


def run_by_workers(tasks: TaskQueue, workers: int, scheduler: str | None) -> None:
    """Do the tasks of a queue. Raises BadConfiguration where no scheduler answers, SchedulerLost where it goes away.

    workers: processes on this machine, unless the address of a scheduler is given.
    """
    distributed: Any = importlib.import_module("distributed")
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with _cluster(workers, scheduler) as address, _client(distributed, address) as client:
        _Feeder(tasks, client, address).run()


class _Feeder:
    """Gives tasks to the workers, some together: each way there and back costs a tenth of what a task takes.

    Only a few wait for each worker, so that memory does not grow with the number of dates.
    """

    def __init__(self, tasks: TaskQueue, client: Any, address: str) -> None:
        self._tasks = tasks
        self._client = client
        self._address = address
        self._running: dict[Any, list[Task]] = {}
        self._attempts: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._workers = 0
        self._next_look = 0.0
        self._told = False

    def run(self) -> None:
        """Until no task is left."""
        self._look()
        self._fill()
        while self._running:
            with contextlib.suppress(queue.Empty):
                self._take(self._done.get(timeout=_LOOK_SECONDS))
            if time.monotonic() >= self._next_look:
                self._look()
            self._fill()

    def _fill(self) -> None:
        count = max(1, self._workers)
        while len(self._running) < _WAITING_PER_WORKER * count:
            # Fewer towards the end, so that no worker is left alone with many.
            left = self._tasks.progress.rows_total - self._tasks.progress.rows
            tasks = self._tasks.next(min(_ROWS_TOGETHER, left // (_SHARES_PER_WORKER * count)))
            if not tasks:
                return
            self._submit(tasks)

    def _submit(self, tasks: list[Task]) -> None:
        key = f"{tasks[0].name} #{next(self._numbers)}"
        future = self._client.submit(_in_turn, run_task, tasks, key=key, pure=False)
        self._running[future] = tasks
        future.add_done_callback(self._done.put)

    def _take(self, future: Any) -> None:
        if future.status in ("cancelled", "lost"):
            raise self._lost()
        tasks = self._running.pop(future)
        error = future.exception()
        if error is None:
            self._tasks.finished(tasks)
            return
        task = first_left(tasks)
        if type(error).__name__ == "KilledWorker":
            # Dask has already given it to several workers.
            self._tasks.failed(tasks, "every process that tried it died (out of memory, perhaps)")
        elif may_retry(task, error, self._attempts[task.name]):
            self._attempts[task.name] += 1
            self._submit(tasks)
        else:
            self._tasks.failed(tasks, told(error))

    def _look(self) -> None:
        """See whether the scheduler is still there, and how many workers it has: they may come and go."""
        # Where it does not answer, the client tries to connect again, and is closed when it gives up.
        with contextlib.suppress(OSError, ValueError, TimeoutError):
            self._workers = len(self._client.scheduler_info()["workers"])
        if self._client.status == "closed":
            raise self._lost()
        if not self._workers and not self._told:
            self._told = True
            log.warning("the Dask scheduler at %s has no workers: waiting for some", self._address)
        self._next_look = time.monotonic() + _LOOK_SECONDS

    def _lost(self) -> SchedulerLost:
        return SchedulerLost(self._address, self._tasks.done_by_now(), self._tasks.progress.total)


def _in_turn(do: Callable[[Task], str], tasks: Sequence[Task]) -> None:
    """What a worker is given. Those of the tasks that are already done cost nothing when it is given them again."""
    for task in tasks:
        do(task)


def _cluster(workers: int, scheduler: str | None) -> contextlib.AbstractContextManager[str]:
    """The address of a scheduler, of a cluster on this machine where none is given."""
    return contextlib.nullcontext(scheduler) if scheduler else _local_cluster(workers)


@contextlib.contextmanager
def _local_cluster(workers: int) -> Iterator[str]:
    import dask

    distributed: Any = importlib.import_module("distributed")
    chosen = {
        # On a busy machine a worker takes its time to come up.
        "distributed.comm.timeouts.connect": "60s",
        "distributed.admin.tick.limit": "60s",
        # Dask has workers give memory back at once: a task then meets ten times as many page faults.
        "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
        # None: the method that `fork_server` chooses. By its name Dask would import every package it knows of here.
        "distributed.worker.multiprocessing-method": None,
        # It looks at the stack of each task a hundred times a second, for a page that nobody sees.
        "distributed.worker.profile.enabled": False,
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(chosen))
        stack.enter_context(fork_server.used())
        with fork_server.deaf_children():
            # Entered in here: a Ctrl-C that waits until the block is left must find it on the stack.
            cluster = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address=None,
                    memory_limit=None,
                    silence_logs=logging.CRITICAL,
                )
            )
        yield cluster.scheduler_address


def _client(distributed: Any, address: str) -> Any:
    try:
        return distributed.Client(address, timeout="20s")
    except (OSError, ValueError, TimeoutError) as error:
        raise BadConfiguration(f"no Dask scheduler answers at {address}: {error}") from error
