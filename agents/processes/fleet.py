"""The three money agents as supervised processes: their command lines, health pages, readiness."""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from agents import configuration
from agents.configuration import Given
from agents.processes.supervisor import Program
from agents.stream.errors import InstanceTaken
from agents.stream.instance import state_folder
from deploy.ports import free_port

ROLES = ("signals", "execution", "portfolio")
HOST = "127.0.0.1"
_LOCK_SECONDS = 1.0
"""One who only looks whether the lock is held has it for much less."""


@dataclass(frozen=True)
class Member:
    """One agent process to be run, and where its health pages are."""

    role: str
    instance: str
    health_port: int

    @property
    def name(self) -> str:
        """`role-instance`."""
        return f"{self.role}-{self.instance}"

    @property
    def health(self) -> str:
        """Address of its health pages."""
        return f"http://{HOST}:{self.health_port}"

    def trouble(self) -> str | None:
        """Why it does no work, None when it is ready."""
        try:
            with urllib.request.urlopen(f"{self.health}/ready", timeout=2):
                return None
        except urllib.error.HTTPError as error:
            return error.read().decode(errors="replace").strip()
        except OSError as error:
            return f"no answer from {self.health}: {getattr(error, 'reason', error)}"


def instance_names(instances: int, name: str | None) -> list[str]:
    """`NAME-0`, `NAME-1` and so on, without a name just the numbers."""
    return [f"{name}-{number}" if name is not None else str(number) for number in range(instances)]


def members(instances: Iterable[str], health_port_base: int | None) -> list[Member]:
    """One of each role for each instance; health ports from a base upwards, else any that are free."""
    names = [(role, instance) for instance in instances for role in ROLES]
    if health_port_base is None:
        ports: Iterable[int] = {free_port(): None for _ in range(3 * len(names))}
    else:
        ports = range(health_port_base, health_port_base + len(names))
    return [Member(role, instance, port) for (role, instance), port in zip(names, ports, strict=False)]


def program(member: Member, given: Given, wait_seconds: float) -> Program:
    """How to run it. wait_seconds: how long it waits for the broker and the topics."""
    own = (f"--instance={member.instance}", f"--health-port={member.health_port}", f"--wait={wait_seconds:g}")
    # -P: an "agents" folder in the current directory must not stand in for ours
    command = [sys.executable, "-P", "-m", "agents.cli", member.role, *own, *given.arguments]
    return Program(member.name, command, {"MM_AGENT": member.name})


@contextlib.contextmanager
def kept(prefix: str) -> Iterator[None]:
    """Be the only one on this machine who keeps the prefix's fleet running, for a `with` block.

    Raises InstanceTaken: two would give their agents the same names, and each would fence off the other's.
    Raises BadConfiguration where the lock may not be written.
    """
    lock = _lock(prefix)
    try:
        with state_folder(_folder()):
            lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout:
        desk = f"the prefix {prefix}" if prefix else "no prefix"
        raise InstanceTaken(
            f"mm run already runs here with {desk}: end it and give --instances for more agents, "
            "or take another MM_PREFIX for another desk (another MM_HOME for another broker)"
        ) from None
    try:
        yield
    finally:
        lock.release()


def is_kept(prefix: str) -> bool:
    """Whether somebody keeps the prefix's fleet running on this machine."""
    try:
        with _lock(prefix).acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def note(prefix: str, fleet: Iterable[Member]) -> None:
    """Tell others, `mm doctor` say, of the members. Raises BadConfiguration where it may not be written."""
    with state_folder(_folder()):
        _note(prefix).write_text(json.dumps([asdict(member) for member in fleet]))


def noted(prefix: str) -> list[Member]:
    """The members of a fleet that was noted, none where there is none."""
    try:
        return [Member(**member) for member in json.loads(_note(prefix).read_text())]
    except (OSError, ValueError, TypeError):
        return []


def forget(prefix: str) -> None:
    """Take the note away."""
    _note(prefix).unlink(missing_ok=True)


def _folder() -> Path:
    return configuration.home() / "run"


def _note(prefix: str) -> Path:
    return _folder() / f"{prefix}fleet.json"


def _lock(prefix: str) -> FileLock:
    return FileLock(_folder() / f"{prefix}fleet.lock")
