"""The agents as real processes, of which any may be killed, stopped, replaced or joined by others."""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agents.processes import lifeline
from agents.processes.fleet import ROLES
from agents.processes.supervisor import GIVES_UP_ON
from agents.stream import errors

_RESTART_SECONDS = 0.1
_TURN_SECONDS = 0.05
STOP_SECONDS = 15.0
_WAIT_SECONDS = 120  # how long an agent that starts waits for a broker that may be down


@dataclass
class Member:
    """One process of a role. host: which folder of locks it sees, as another machine would have its own."""

    role: str
    instance: str
    host: str
    process: subprocess.Popen[bytes]
    started: float
    stopped: bool = False  # by SIGSTOP
    rival: bool = False  # another process runs under its name: it must end itself

    @property
    def name(self) -> str:
        """`role-instance`."""
        return f"{self.role}-{self.instance}"


class Crew:
    """Keeps processes running: one that ends is started again under its name, unless it was told to leave.

    options: command-line options of every agent of a role, by role; folder: of logs and locks.
    note: told of every start and end.
    """

    def __init__(self, options: Mapping[str, list[str]], folder: Path, note: Callable[[str], None]) -> None:
        self._options = options
        self._folder = folder
        self._note = note
        self._lock = threading.RLock()
        self._members: list[Member] = []
        self._restarts: list[tuple[float, str, str, str]] = []
        self._names = self._hosts = 0
        self._lifeline = os.pipe()
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="crew", daemon=True)
        self.given_up: list[str] = []
        self.statuses: collections.Counter[str] = collections.Counter()

    def start(self) -> None:
        """One process of each role."""
        for role in ROLES:
            self._spawn(role, "0", "a")
        self._keeper.start()

    def of(self, role: str) -> list[Member]:
        """The processes of a role that run and are not stopped, oldest first."""
        with self._lock:
            return [m for m in self._members if m.role == role and not m.stopped and m.process.poll() is None]

    def stopped(self, role: str) -> list[Member]:
        """The processes of a role that SIGSTOP holds."""
        with self._lock:
            return [m for m in self._members if m.role == role and m.stopped and m.process.poll() is None]

    # -- faults --------------------------------------------------------------------------------------------------

    def kill(self, member: Member) -> None:
        """SIGKILL; the process is started again under its name."""
        member.process.kill()

    def replace(self, member: Member) -> None:
        """SIGKILL; a process with a new name takes its place."""
        with self._lock:
            self._members.remove(member)
            member.process.kill()
            self._spawn(member.role, self._new_name(), "a")
        self._reap(member)

    def pause(self, member: Member) -> None:
        """SIGSTOP."""
        with self._lock:
            member.stopped = True
            member.process.send_signal(signal.SIGSTOP)

    def resume(self, member: Member) -> None:
        """SIGCONT."""
        with self._lock:
            member.stopped = False
            member.process.send_signal(signal.SIGCONT)

    def usurp(self, member: Member) -> None:
        """Start another process under the name of one that is stopped, as if on another machine."""
        with self._lock:
            member.rival = True
            self._hosts += 1
            self._spawn(member.role, member.instance, f"b{self._hosts}")

    def join(self, role: str, count: int) -> list[Member]:
        """More processes of a role."""
        with self._lock:
            return [self._spawn(role, self._new_name(), "a") for _ in range(count)]

    def leave(self, members: list[Member], politely: bool) -> None:
        """End processes for good, by SIGTERM or SIGKILL. A restart may have given a name to another process."""
        names = {(member.role, member.instance) for member in members}
        with self._lock:
            leaving = [m for m in self._members if (m.role, m.instance) in names]
            self._members = [m for m in self._members if m not in leaving]
            self._restarts = [r for r in self._restarts if (r[1], r[2]) not in names]
        for member in leaving:
            if member.stopped:
                member.process.send_signal(signal.SIGCONT)
            member.process.send_signal(signal.SIGTERM if politely else signal.SIGKILL)
        for member in leaving:
            self._reap(member)

    # -- the end -------------------------------------------------------------------------------------------------

    def stop(self) -> list[str]:
        """SIGTERM to all; what each did instead that did not end with 0 in time."""
        self._stopping.set()
        if self._keeper.ident:
            self._keeper.join()
        with self._lock:
            members, self._members = self._members, []
        running = [member for member in members if member.process.poll() is None]
        for member in running:
            if member.stopped:
                member.process.send_signal(signal.SIGCONT)
            member.process.terminate()
        return [trouble for member in running if (trouble := self._end_of(member))]

    def destroy(self) -> None:
        """SIGKILL to all that are left."""
        self._stopping.set()
        with self._lock:
            members, self._members = self._members, []
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                member.process.kill()
            member.process.wait()
        for end in self._lifeline:
            with contextlib.suppress(OSError):
                os.close(end)

    def _end_of(self, member: Member) -> str | None:
        began = time.monotonic()
        try:
            status = member.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            member.process.kill()
            member.process.wait()
            return f"{member.name} did not end within {STOP_SECONDS:.0f} s of SIGTERM"
        seconds = time.monotonic() - began
        return f"{member.name} ended with {status} after {seconds:.1f} s" if status else None

    # -- keeping -------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        while not self._stopping.wait(_TURN_SECONDS):
            with self._lock:
                for member in [m for m in self._members if m.process.poll() is not None]:
                    self._members.remove(member)
                    self._ended(member)
                now = time.monotonic()
                due = [restart for restart in self._restarts if restart[0] <= now]
                self._restarts = [restart for restart in self._restarts if restart[0] > now]
                for _, role, instance, host in due:
                    self._spawn(role, instance, host)

    def _ended(self, member: Member) -> None:
        status = member.process.returncode
        self.statuses[f"{member.role} {status}"] += 1
        if status != -signal.SIGKILL:
            self._note(f"{member.name} ended with {status}: {self._last_words(member)}")
        if member.rival and status == errors.InstanceTaken.exit_status:
            return
        if status in GIVES_UP_ON:
            self.given_up.append(f"{member.name} gave up with {status}: {self._last_words(member)}")
        if not member.rival:
            self._restarts.append((time.monotonic() + _RESTART_SECONDS, member.role, member.instance, member.host))

    def _reap(self, member: Member) -> None:
        try:
            status = member.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.given_up.append(f"{member.name} did not end within {STOP_SECONDS:.0f} s")
            member.process.kill()
            status = member.process.wait()
        self.statuses[f"{member.role} {status}"] += 1

    def _new_name(self) -> str:
        self._names += 1
        return f"n{self._names}"

    def _spawn(self, role: str, instance: str, host: str) -> Member:
        command = [sys.executable, "-P", "-m", "agents.cli", role, f"--instance={instance}", f"--wait={_WAIT_SECONDS}"]
        home = self._folder / f"host-{host}"
        with self._log(role, instance, host).open("ab") as log:
            process = subprocess.Popen(
                [*command, *self._options[role]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "MM_HOME": str(home),
                    "MM_AGENT": f"{role}-{instance}@{host}",
                    lifeline.VARIABLE: str(self._lifeline[0]),
                },
                pass_fds=(self._lifeline[0],),
                start_new_session=True,
            )
        member = Member(role, instance, host, process, time.monotonic())
        self._members.append(member)
        return member

    def _log(self, role: str, instance: str, host: str) -> Path:
        return self._folder / f"{role}-{instance}@{host}.log"

    def _last_words(self, member: Member) -> str:
        lines = self._log(member.role, member.instance, member.host).read_text(errors="replace").splitlines()
        return lines[-1] if lines else "(it said nothing)"
