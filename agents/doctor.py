"""What is missing on this machine or on its broker, each with the one command that mends it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agents import configuration as places
from agents.configuration import Configuration, Given
from agents.processes import fleet
from agents.strategy.session import calendar_of
from agents.stream.config import KafkaConfig
from agents.stream.errors import MissingTopics, NoBroker, StreamError, UnequalPartitions

_ROOT = Path(__file__).resolve().parents[1]
_LEAST_FREE_GB = 2.0
_CONNECT_SECONDS = 2.0
_DOCKER_SECONDS = 20.0
_DEFAULT_PORT = 9092


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    remedy: the command that mends it; empty where a person must choose, as the text says; None: nothing is wrong.
    """

    subject: str
    text: str
    remedy: str | None = None

    @property
    def line(self) -> str:
        """The finding on one line."""
        if self.remedy is None:
            return f"ok    {self.subject}: {self.text}"
        return f"FAIL  {self.subject}: {self.text}" + (f"; run: {self.remedy}" if self.remedy else "")


def examine(configuration: Configuration) -> Iterator[Finding]:
    """All findings, one after the other; the broker's parts only as far as one can be reached."""
    yield _python()
    yield _environment()
    if not _in_container():
        yield _java()
        yield _disk()
    yield _docker()
    try:
        calendar_of(configuration.settings())
        config = configuration.kafka()
    except NoBroker:
        text = "none is named (--bootstrap, MM_BOOTSTRAP), and the embedded one does not run"
        yield Finding("broker", text, _mm("broker up"))
        return
    except (StreamError, ValueError) as error:
        yield Finding("configuration", str(error), "")
        return
    broker = _broker(config)
    yield broker
    if broker.remedy is None:
        yield from _on_broker(config, configuration.given)
        yield from _agents(configuration)


def _in_container() -> bool:
    """Whether this is the image, which has no embedded broker: neither its Java nor its room is missed there."""
    return bool(os.environ.get("MM_CONTAINER"))


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if (3, 11) <= sys.version_info[:2] <= (3, 14):
        return Finding("python", version)
    return Finding("python", f"{version}; 3.11 to 3.14 will do", "uv python install 3.13")


def _mm(command: str, given: Given | None = None) -> str:
    """A command line of ours as it can be run from here, for the broker and the prefix that were given."""
    script = _ROOT / "mm"
    if not script.exists() or Path(shutil.which("mm") or "/").resolve() == script:
        name = "mm"
    else:
        name = "./mm" if Path.cwd() == _ROOT else str(script)
    place = dataclasses.replace(given, settings=()).arguments if given is not None else []
    return " ".join([name, command, *place])


def _environment() -> Finding:
    lock, stamp = _ROOT / "deploy" / "locks" / "core.txt", _ROOT / ".venv" / "core.txt"
    if not lock.exists() or (stamp.exists() and stamp.read_bytes() == lock.read_bytes()):
        return Finding("packages", f"as locked, in {sys.prefix}")
    return Finding("packages", f"{sys.prefix} is not what {lock} asks for", _mm("--help"))


def _java() -> Finding:
    from deploy.java import find_java

    java = find_java()
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=True).stderr
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("java", f"{java} does not run: {error}", f"rm -r {_ROOT / '.venv'} && {_mm('--help')}")
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
    try:
        subprocess.run(["docker", "info"], capture_output=True, timeout=_DOCKER_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return Finding("docker", "does not answer, and is not needed")
    return Finding("docker", "answers")


def _broker(config: KafkaConfig) -> Finding:
    for address in config.bootstrap.split(","):
        host, _, port = address.strip().removeprefix("PLAINTEXT://").rpartition(":")
        try:
            socket.create_connection((host or port, int(port) if host else _DEFAULT_PORT), _CONNECT_SECONDS).close()
        except (OSError, ValueError):
            continue
        return Finding("broker", f"answers at {config.bootstrap}")
    text = f"nothing answers at {config.bootstrap}: start the Kafka there"
    if _in_container():
        return Finding("broker", text, "")
    return Finding("broker", f"{text}, or do not name it and take the embedded one", _mm("broker up"))


def _on_broker(config: KafkaConfig, given: Given) -> Iterator[Finding]:
    from agents.controls import operator
    from agents.stream import clients, topics
    from agents.stream.policies import differing_policies
    from schemas.topics import CONTROLS, TOPICS

    try:
        partitions = topics.check(clients.admin(config), config, TOPICS.values())
    except NoBroker:
        text = f"what listens at {config.bootstrap} does not speak Kafka as configured: see security.protocol, sasl.*"
        yield Finding("broker", text, "")
        return
    except MissingTopics as error:
        yield Finding("topics", str(error).partition("; ")[0], _mm("topics create", given))
        return
    except UnequalPartitions as error:
        anew = dataclasses.replace(given, prefix=f"{config.prefix}new.")
        yield Finding("topics", f"{error}; that cannot be changed, only begun anew", _mm("topics create", anew))
        return
    except StreamError as error:
        yield Finding("configuration", str(error), "")
        return
    yield Finding("topics", f"{len(TOPICS)} are there, with {partitions} partitions")
    for line in differing_policies(clients.admin(config), config, TOPICS.values()):
        topic, wanted = line.split()[0], line.split()[-1]
        tool = f"{_ROOT / 'docs/examples/kafka_tool.sh'} kafka.admin.ConfigCommand"
        alter = f"{tool} --bootstrap-server {config.bootstrap} --alter --topic {topic}"
        yield Finding("topics", line, f"{alter} --add-config cleanup.policy={wanted}")
    held = operator.read_controls(config)
    if held:
        yield Finding("controls", f"for {', '.join(held)}")
    else:
        yield Finding(CONTROLS.name, "none, so nothing trades", _mm("controls set AAPL --max-position 10000", given))


def _agents(configuration: Configuration) -> Iterator[Finding]:
    members = fleet.noted(configuration.prefix)
    if not members:
        yield Finding("agents", "none that mm run started here")
        return
    remedy = "" if fleet.is_kept(configuration.prefix) else _mm("run", configuration.given)
    for member in members:
        trouble = member.trouble()
        if trouble is None:
            yield Finding(member.name, f"ready ({member.health})")
        else:
            yield Finding(member.name, trouble, remedy)
