"""The three money agents as supervised processes: their command lines, health pages, readiness."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from agents import configuration
from agents.configuration import Given
from agents.processes.supervisor import Program
from deploy.ports import free_port

ROLES = ("signals", "execution", "portfolio")
HOST = "127.0.0.1"


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


def members(instances: int, health_port_base: int | None) -> list[Member]:
    """`instances` of each role; health ports from a base upwards, else any that are free."""
    names = [(role, str(number)) for number in range(instances) for role in ROLES]
    if health_port_base is None:
        ports: Iterable[int] = {free_port(): None for _ in range(3 * len(names))}
    else:
        ports = range(health_port_base, health_port_base + len(names))
    return [Member(role, number, port) for (role, number), port in zip(names, ports, strict=False)]


def program(member: Member, given: Given, wait_seconds: float) -> Program:
    """How to run it. wait_seconds: how long it waits for the broker and the topics."""
    own = (f"--instance={member.instance}", f"--health-port={member.health_port}", f"--wait={wait_seconds:g}")
    # -P: an "agents" folder in the current directory must not stand in for ours
    command = [sys.executable, "-P", "-m", "agents.cli", member.role, *own, *given.arguments]
    return Program(member.name, command, {"MM_AGENT": member.name})


def note_file(prefix: str) -> Path:
    """Where a running fleet tells others of its members."""
    return configuration.home() / "run" / f"{prefix}fleet.json"


def note(prefix: str, fleet: Iterable[Member]) -> None:
    """Tell others, `mm doctor` say, of the members."""
    path = note_file(prefix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(member) for member in fleet]))


def noted(prefix: str) -> list[Member]:
    """The members of a fleet that was noted, none where there is none."""
    try:
        return [Member(**member) for member in json.loads(note_file(prefix).read_text())]
    except (OSError, ValueError, TypeError):
        return []


def forget(prefix: str) -> None:
    """Take the note away."""
    note_file(prefix).unlink(missing_ok=True)
