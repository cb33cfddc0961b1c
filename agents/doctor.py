"""What is missing on this machine or on its broker, each with the one command that mends it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agents import configuration as places
from agents import fleet
from agents.configuration import Configuration
from agents.stream.config import KafkaConfig
from agents.stream.errors import StreamError

_LEAST_FREE_GB = 2.0
_CONNECT_SECONDS = 2.0
_DEFAULT_PORT = 9092


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. remedy: the command that mends it, None where nothing needs mending."""

    subject: str
    text: str
    remedy: str | None = None

    @property
    def line(self) -> str:
        """The finding on one line."""
        if self.remedy is None:
            return f"ok    {self.subject}: {self.text}"
        return f"FAIL  {self.subject}: {self.text}; run: {self.remedy}"


def examine(configuration: Configuration) -> Iterator[Finding]:
    """All findings, one after the other; the broker's parts only as far as one can be reached."""
    yield _python()
    yield _environment()
    yield _java()
    yield _disk()
    yield _docker()
    try:
        config = configuration.kafka()
        configuration.settings()
    except StreamError as error:
        yield Finding("configuration", str(error), _remedy(str(error)))
        return
    broker = _broker(config)
    yield broker
    if broker.remedy is None:
        yield from _on_broker(config)
        yield from _agents(configuration.prefix)


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if (3, 11) <= sys.version_info[:2] <= (3, 14):
        return Finding("python", version)
    return Finding("python", f"{version}; 3.11 to 3.14 will do", "uv python install 3.13")


def _environment() -> Finding:
    root = Path(__file__).parents[1]
    lock, stamp = root / "deploy" / "locks" / "core.txt", root / ".venv" / "core.txt"
    if not lock.exists() or (stamp.exists() and stamp.read_bytes() == lock.read_bytes()):
        return Finding("packages", f"as locked, in {sys.prefix}")
    return Finding("packages", f"{sys.prefix} is not what {lock} asks for", f"{root / 'mm'} --help")


def _java() -> Finding:
    from deploy.java import find_java

    java = find_java()
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=True).stderr
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("java", f"{java} does not run: {error}", "rm -r .venv && ./mm --help")
    return Finding("java", f"{(said.splitlines() or ['?'])[0]} ({java})")


def _disk() -> Finding:
    home = places.home()
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(there).free / 1e9
    text = f"{free:.1f} GB free for {home}"
    if free < _LEAST_FREE_GB:
        return Finding("disk", f"{text}, {_LEAST_FREE_GB:g} are wanted", "export MM_HOME=/a/folder/with/room")
    return Finding("disk", text)


def _docker() -> Finding:
    """Never a fault: everything runs without it."""
    if shutil.which("docker") is None:
        return Finding("docker", "not here, and not needed")
    result = subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False)
    return Finding("docker", "answers" if result.returncode == 0 else "does not answer, and is not needed")


def _broker(config: KafkaConfig) -> Finding:
    for address in config.bootstrap.split(","):
        host, _, port = address.strip().removeprefix("PLAINTEXT://").rpartition(":")
        try:
            socket.create_connection((host or port, int(port) if host else _DEFAULT_PORT), _CONNECT_SECONDS).close()
        except (OSError, ValueError):
            continue
        return Finding("broker", f"answers at {config.bootstrap}")
    return Finding("broker", f"nothing answers at {config.bootstrap}", "mm broker up")


def _on_broker(config: KafkaConfig) -> Iterator[Finding]:
    from agents import operator
    from agents.stream import clients, topics
    from agents.stream.policies import differing_policies
    from schemas.topics import CONTROLS, TOPICS

    def count() -> str:
        partitions = topics.check(clients.admin(config), config, TOPICS.values())
        return f"{len(TOPICS)} are there, with {partitions} partitions"

    counted = _attempt("topics", count)
    yield counted
    if counted.remedy is not None:
        return
    for line in differing_policies(clients.admin(config), config, TOPICS.values()):
        topic, wanted = line.split()[0], line.split()[-1]
        alter = f"kafka-configs.sh --bootstrap-server {config.bootstrap} --alter --topic {topic}"
        yield Finding("topics", line, f"{alter} --add-config cleanup.policy={wanted}")
    held = operator.read_controls(config)
    if held:
        yield Finding("controls", f"for {', '.join(held)}")
    else:
        yield Finding(CONTROLS.name, "none, so nothing trades", "mm controls set AAPL --max-position 10000")


def _agents(prefix: str) -> Iterator[Finding]:
    members = fleet.noted(prefix)
    if not members:
        yield Finding("agents", "none that mm run started here")
    for member in members:
        trouble = member.trouble()
        if trouble is None:
            yield Finding(member.name, f"ready ({member.health})")
        else:
            yield Finding(member.name, trouble, "mm run")


def _attempt(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, look())
    except StreamError as error:
        return Finding(subject, str(error), _remedy(str(error)))


def _remedy(message: str) -> str:
    """The command that an error names, else the one that shows how to choose other names."""
    _, _, command = message.rpartition(": mm ")
    return f"mm {command}" if command and command != message else "mm --help"
