"""Keeps processes running: restarts those that die under the same name, and leaves none behind."""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from agents.processes import lifeline
from agents.stream import errors
from agents.stream.errors import StreamError

log = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 2.0
STOP_SECONDS = 5.0
_STEADY_SECONDS = 10.0
"""A process that ran this long is well: the next restart is quick again."""

GIVES_UP_ON = {
    kind.exit_status
    for kind in (
        errors.BadConfiguration,
        errors.MissingTopics,
        errors.UnequalPartitions,
        errors.TornState,
        errors.InputGap,
        errors.OutputRefused,
        errors.UnreadableState,
    )
}
"""Exit statuses that a restart cannot mend.

InstanceTaken is not among them: after a broker's restart a group has fenced off members that had no rival."""


class GaveUp(StreamError):
    """A supervised process ended in a way that a restart cannot mend."""

    def __init__(self, name: str, status: int, where: str) -> None:
        super().__init__(f"{name} ended with status {status}, which a restart cannot mend; {where}")
        self.exit_status = status


@dataclass(frozen=True)
class Program:
    """What is to be kept running, under a name; environment: added to this process's own."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class Supervisor:
    """Runs programs from `start` to `stop`, or for a `with` block.

    logs: a folder for what each says, one file a name; None: it goes where this process's stderr goes.
    The programs are told by `agents.processes.lifeline` when this process has died.
    """

    def __init__(self, programs: Sequence[Program], logs: Path | None = None) -> None:
        self._failures: queue.Queue[GaveUp] = queue.Queue()
        self._pipe: tuple[int, int] | None = None
        self._keepers = [_Keeper(program, logs, self._failures) for program in programs]

    def start(self) -> None:
        """Start all of them."""
        self._pipe = os.pipe()
        for keeper in self._keepers:
            keeper.start(self._pipe[0])

    def pids(self) -> dict[str, int]:
        """Process number of each that runs now, by name."""
        return {keeper.name: pid for keeper in self._keepers if (pid := keeper.pid()) is not None}

    def wait(self, seconds: float | None = None) -> None:
        """Return after that time. Raises GaveUp when one of them cannot be kept running."""
        try:
            raise self._failures.get(timeout=seconds)
        except queue.Empty:
            return

    def stop(self) -> None:
        """End all of them: SIGTERM, and SIGKILL for those still there after `STOP_SECONDS`."""
        for keeper in self._keepers:
            keeper.ask_to_stop()
        deadline = time.monotonic() + STOP_SECONDS
        for keeper in self._keepers:
            keeper.finish(deadline)
        if self._pipe is not None:
            for end in self._pipe:
                os.close(end)
            self._pipe = None

    def __enter__(self) -> Supervisor:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Keeper:
    """One program and the thread that waits for its end."""

    def __init__(self, program: Program, logs: Path | None, failures: queue.Queue[GaveUp]) -> None:
        self.name = program.name
        self._program = program
        self._log = logs / f"{program.name}.log" if logs is not None else None
        self._failures = failures
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name=f"keeper-{program.name}", daemon=True)

    def start(self, pipe: int) -> None:
        self._pipe = pipe
        self._thread.start()

    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def ask_to_stop(self) -> None:
        # Under the lock: after it, either nothing is started any more, or what was started is told.
        with self._starting:
            self._stopping.set()
            if self._process is not None:
                self._process.send_signal(signal.SIGTERM)

    def finish(self, deadline: float) -> None:
        if not self._thread.ident:
            return
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive() and self._process is not None:
            log.warning("%s did not end within %.0f s and is killed", self.name, STOP_SECONDS)
            self._process.kill()
            self._thread.join()

    def _keep(self) -> None:
        delay = FIRST_DELAY_SECONDS
        while True:
            began = time.monotonic()
            try:
                process = self._spawn()
            except OSError as error:  # of processes, memory, files or room there may be enough again
                how = f"cannot be started ({error})"
            else:
                if process is None:
                    return
                status = process.wait()
                if self._stopping.is_set():
                    return
                if status in GIVES_UP_ON:
                    self._failures.put(GaveUp(self.name, status, self._where()))
                    return
                how = _ended(status)
            if time.monotonic() - began > _STEADY_SECONDS:
                delay = FIRST_DELAY_SECONDS
            log.warning("%s %s; it is started again in %.1f s", self.name, how, delay)
            if self._stopping.wait(delay):
                return
            delay = min(2 * delay, LONGEST_DELAY_SECONDS)

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        with self._starting:
            if self._stopping.is_set():
                return None
            output = self._log.open("ab") if self._log is not None else None
            try:
                self._process = subprocess.Popen(
                    self._program.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(self._pipe,),
                    env={**os.environ, **self._program.environment, lifeline.VARIABLE: str(self._pipe)},
                    start_new_session=True,  # Ctrl-C is for the supervisor, which tells the others
                )
            finally:
                if output is not None:
                    output.close()
            return self._process

    def _where(self) -> str:
        """Why it ended, as far as that is known: its last line, which may be gone with its log when this is read."""
        if self._log is None:
            return "its last line says why"
        try:
            lines = self._log.read_text(errors="replace").splitlines()
        except OSError as error:
            return f"what it said cannot be read: {error}"
        return f"it said: {lines[-1].removeprefix('mm: ')}" if lines else "it said nothing"


def _ended(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
