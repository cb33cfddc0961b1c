"""Tasks by workers through Dask: workers and schedulers that die, and Ctrl-C at a terminal."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import distributed
import orjson
import psutil
import pytest

from agents.backtest import workers
from agents.backtest.controls import same_for_all
from agents.backtest.errors import SchedulerLost, TasksFailed
from agents.backtest.queue import Progress
from agents.backtest.running import run
from agents.backtest.task import Plan, Task, run_task
from agents.strategy.settings import Settings
from agents.stream.errors import BadConfiguration
from schemas.records import Control
from tests.backtest import market
from tests.backtest.helpers import plan_of, trades_bytes, write_quotes

CONTROLS = same_for_all(market.SYMBOLS, Control(max_position_dollars=8_000))
SECONDS = 120
"""In which whatever is waited for must have come, also on a busy machine."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_quotes(tmp_path / "data", market.quotes())
    return tmp_path / "data"


def planned(data: Path, work: Path, *settings: Settings) -> Plan:
    return plan_of(data, work, CONTROLS, *settings)


@pytest.fixture(params=["each alone", "all together"])
def shared_out(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How tasks are given to workers."""
    monkeypatch.setattr(workers, "_SHARES_PER_WORKER", 100 if request.param == "each alone" else 0.25)


def of_one_process(data: Path, folder: Path) -> bytes:
    plan = planned(data, folder / "alone")
    run(plan, 1)
    return trades_bytes(plan, folder / "alone.parquet")


def die_once(task: Task) -> str:
    """The first process that tries a task is killed in the middle of the run."""
    marker = task.folder.parent.parent / "died"
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return run_task(task)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def die_on_friday(task: Task) -> str:
    if str(task.day.date) == "2013-11-29":
        os.kill(os.getpid(), signal.SIGKILL)
    return run_task(task)


def test_two_workers_give_what_one_process_gives(tmp_path: Path, data: Path) -> None:
    plan = planned(data, tmp_path / "there")
    run(plan, 2)
    assert trades_bytes(plan, tmp_path / "b.parquet") == of_one_process(data, tmp_path)


def test_a_killed_worker_is_replaced_and_its_task_done_again(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "run_task", die_once)
    plan = planned(data, tmp_path / "work")
    run(plan, 2)
    assert (tmp_path / "work" / "died").exists()
    assert trades_bytes(plan, tmp_path / "a.parquet") == of_one_process(data, tmp_path)


@pytest.mark.usefixtures("shared_out")
def test_a_task_that_kills_its_workers_is_named_and_the_others_are_kept(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "run_task", die_on_friday)
    plan = planned(data, tmp_path / "work")
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}), pytest.raises(TasksFailed) as error:
        run(plan, 2)
    assert "1 of 2 tasks failed (2013-11-29 block 0: every process that tried it died" in str(error.value)
    assert "1 are done and kept" in str(error.value)
    monkeypatch.undo()
    run(plan, 1)
    assert trades_bytes(plan, tmp_path / "a.parquet") == of_one_process(data, tmp_path)


@pytest.mark.usefixtures("shared_out")
def test_an_error_of_a_task_on_a_worker_is_told_and_tried_again(
    tmp_path: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = planned(data, tmp_path / "work")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "date=2013-11-29").write_text("stands where a folder has to be")
    with pytest.raises(TasksFailed, match="2013-11-29 block 0: NotADirectoryError"):
        run(plan, 2)
    assert caplog.text.count("2013-11-29 block 0 failed (NotADirectoryError") == 2


class Scheduler:
    """A Dask scheduler of its own process, as one on another machine."""

    def __init__(self, folder: Path, count: int) -> None:
        self.file = folder / "scheduler.json"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._begin("distributed.cli.dask_scheduler", "--port", "0", "--host", "127.0.0.1")
        if count:
            self._begin("distributed.cli.dask_worker", "--nworkers", str(count), "--nthreads", "1")

    def _begin(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", module, "--scheduler-file", str(self.file), "--no-dashboard", *arguments]
        self._processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    @property
    def address(self) -> str:
        """Where it listens, as soon as it does."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if self.file.exists() and (text := self.file.read_bytes()).endswith(b"}"):
                return str(orjson.loads(text)["address"])
            time.sleep(0.05)
        raise AssertionError("the scheduler does not come up")

    def kill(self) -> None:
        self._processes[0].kill()

    def end(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(SECONDS)


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Scheduler]:
    begun = Scheduler(tmp_path, 2)
    yield begun
    begun.end()


def test_any_scheduler_may_do_the_work(tmp_path: Path, data: Path, scheduler: Scheduler) -> None:
    assert scheduler.address.startswith("tcp://")
    # Its workers run in another folder than the command, which names its own as seen from there, and a file twice.
    arguments = ["--work", "work", "--scheduler", scheduler.address, "--max-position", "8000"]
    command = [sys.executable, "-m", "agents.cli", "backtest", data.name, f"./{data.name}", *arguments]
    trades = tmp_path / "a.parquet"
    command += ["--trades", str(trades)]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert trades.read_bytes() == of_one_process(data, tmp_path)


def test_a_scheduler_that_goes_away_ends_the_run_and_another_one_goes_on(
    tmp_path: Path, data: Path, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Enough settings that the second date cannot be done before the scheduler is gone.
    settings = [Settings(band_sd=n / 10) for n in range(1, 21)]
    plan = planned(data, tmp_path / "work", *settings)

    def kill_after_the_first(progress: Progress) -> None:
        if progress.done == 1:
            scheduler.kill()

    real: Any = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda address, timeout: real(address, timeout="2s"))
    address = scheduler.address
    with pytest.raises(SchedulerLost, match="is gone: 1 of 2 tasks are done and kept; the same command"):
        run(plan, 1, address, kill_after_the_first)
    monkeypatch.undo()
    seen: list[Progress] = []
    run(plan, 1, watch=seen.append)
    assert seen[-1].done == 2 and seen[-1].kept >= 1


def test_workers_are_waited_for(tmp_path: Path, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    with distributed.LocalCluster(n_workers=0, dashboard_address=None, processes=True, threads_per_worker=1) as cluster:

        def add_workers(progress: Progress) -> None:
            if progress.done == 0:
                cluster.scale(1)

        run(planned(data, tmp_path / "work"), 1, cluster.scheduler_address, add_workers)
    assert "has no workers: waiting for some" in caplog.text


def test_no_scheduler_at_an_address_is_an_error_of_the_command(tmp_path: Path, data: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        run(planned(data, tmp_path / "work"), 1, "tcp://127.0.0.1:1")


def test_ctrl_c_at_a_terminal_reaches_all_processes_and_one_line_tells_it(tmp_path: Path, data: Path) -> None:
    bands = "band=" + ",".join(f"{n / 100}" for n in range(1, 41))
    arguments = ["--work", str(tmp_path / "work"), "--workers", "2", "--sweep", bands, "--reset"]
    command = [sys.executable, "-m", "agents.cli", "backtest", str(data), *arguments]
    running = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert running.stderr is not None
    assert "0 of 2 tasks" in running.stderr.readline()
    _wait_for_a_worker(running.pid)
    os.killpg(running.pid, signal.SIGINT)
    said = running.stderr.read()
    assert running.wait(SECONDS) == 130, said
    last = said.strip().splitlines()[-1]
    assert re.fullmatch(r"mm: stopped: \d of 2 tasks are done and kept; the same command goes on from there", last)
    assert "Traceback" not in said


def _wait_for_a_worker(pid: int) -> None:
    # Forked by a child, or begun by the process itself.
    _wait_for(pid, lambda child: bool(child.children()) or "spawn_main" in " ".join(child.cmdline()))


def _wait_for(pid: int, wanted: Callable[[psutil.Process], bool]) -> None:
    """Until a process has such a child."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(wanted(child) for child in psutil.Process(pid).children()):
                return
        time.sleep(0.05)
    raise AssertionError("no such child begins")


SHOW = """
import os, sys
from multiprocessing import Process
from agents.backtest import fork_server

def show():
    print(len(os.listdir(f"/proc/{os.getppid()}/task")), *sys.modules)

if __name__ == "__main__":
    fork_server.begin()
    with fork_server.used():
        process = Process(target=show)
        process.start()
        process.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
def test_workers_are_forked_from_a_process_of_one_thread_that_has_loaded_all_they_need(tmp_path: Path) -> None:
    program = tmp_path / "show.py"
    program.write_text(SHOW)
    shown = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=SECONDS)
    threads, *loaded = shown.stdout.split()
    assert {"distributed", "agents.backtest.task", "agents.backtest.preloaded"} <= set(loaded), shown.stderr
    # Locks that other threads hold would be held for ever in what is forked.
    assert threads == "1"


def test_ctrl_c_while_the_modules_of_workers_are_loaded_just_ends_it(tmp_path: Path, data: Path) -> None:
    command = [sys.executable, "-m", "agents.cli", "backtest", str(data), "--work", str(tmp_path), "--workers", "2"]
    running = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert running.stderr is not None
    _wait_for(running.pid, lambda child: True)
    os.killpg(running.pid, signal.SIGINT)
    # Read to its end: that of the last process that has it open.
    assert "Traceback" not in running.stderr.read()
    # Python ends itself by the signal where that came within a string it ran, as dataclasses are made: 130 to a shell.
    assert running.wait(SECONDS) in (130, -signal.SIGINT)
