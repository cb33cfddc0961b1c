"""Passwords are nowhere to be read: no log, error line, command line, page, state file or dead letter has one."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from agents.stream.config import KafkaConfig
from schemas.topics import DEAD_LETTERS, QUOTES
from tests.integration.pipeline import wait_until
from tests.security.secured import MARKER, Secured

MM = (sys.executable, "-P", "-m", "agents.cli", "--verbose")
SECONDS = 120.0
ROLES = ("signals", "execution", "portfolio")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Everything that makes the command talk, and a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MM_", "KAFKA_"))}
    return {**kept, "MM_DEBUG": "1", "MM_HOME": str(tmp_path / "home")}


def write_properties(path: Path, properties: dict[str, str]) -> Path:
    path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    return path


def files_below(folder: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("command", [["topics", "check"], ["signals"], ["controls", "list"], ["doctor"]], ids=" ".join)
def test_a_wrong_password_is_not_told(
    command: list[str], secured: Secured, prefix: str, environment: dict[str, str]
) -> None:
    secured.prepare(prefix)
    given = secured.properties("signals", password=f"{MARKER}-wrong")
    settings = {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in given.items()}
    place = ["--bootstrap", secured.bootstrap, "--prefix", prefix]
    ended = subprocess.run(
        [*MM, *command, *place], env=environment | settings, capture_output=True, text=True, timeout=SECONDS
    )
    assert ended.returncode not in (0, 70), ended.stderr
    assert secured.bootstrap in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr
    assert MARKER not in ended.stderr + ended.stdout


def test_a_working_desk_tells_no_password(
    secured: Secured, prefix: str, environment: dict[str, str], tmp_path: Path
) -> None:
    owner = secured.prepare(prefix)
    agents = {role: _Process(role, secured, prefix, environment, tmp_path) for role in ROLES}
    try:
        for agent in agents.values():
            wait_until(agent.is_ready, f"{agent.role} to be ready")
        secured.as_principal("feeds", prefix).publish(QUOTES.name, [(0, b"AAPL", b'{"symbol":"AAPL"}')])
        wait_until(lambda: bool(owner.messages(DEAD_LETTERS.name)), "the dead letter")
        for agent in agents.values():
            assert MARKER not in " ".join(psutil.Process(agent.process.pid).cmdline())
            assert MARKER not in agent.page("/metrics")
    finally:
        said = {role: agent.stop() for role, agent in agents.items()}
    for role, text in said.items():
        assert f"{role}-0 holds partitions" in text
        assert MARKER not in text
    (letter,) = owner.messages(DEAD_LETTERS.name)
    assert dict(letter.headers())["mm_reason"].startswith(b"malformed")
    assert MARKER.encode() not in b"".join([letter.key(), letter.value(), *(value for _, value in letter.headers())])
    assert MARKER not in files_below(tmp_path / "home")


class _Process:
    """One agent with its own password, in a file."""

    def __init__(self, role: str, secured: Secured, prefix: str, environment: dict[str, str], folder: Path) -> None:
        self.role = role
        self._output = folder / f"{role}.log"
        properties = write_properties(folder / f"{role}.properties", secured.properties(role))
        place = ("--bootstrap", secured.bootstrap, "--prefix", prefix, "--kafka-properties", str(properties))
        with self._output.open("wb") as output:
            command = [*MM, role, *place, "--instance", "0", "--wait", "60"]
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    def said(self) -> str:
        return self._output.read_text()

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.said()
        return "holds partitions" in self.said()

    def page(self, path: str) -> str:
        address = self.said().partition("health at ")[2].split()[0]
        with urllib.request.urlopen(address + path, timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def stop(self) -> str:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(30) == 0, self.said()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
        return self.said()


@pytest.mark.parametrize(
    "text",
    [f"sasl.password {MARKER}\n", f"sasl.pasword={MARKER}\n", f"sasl.password={MARKER}\nsasl.mechanism=SCRAM\n"],
    ids=["no equals sign", "no such setting", "another setting is wrong"],
)
def test_a_file_that_cannot_be_used_is_named_without_its_content(
    text: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    file = tmp_path / "kafka.properties"
    file.write_text(text)
    ended = subprocess.run(
        [*MM, "topics", "check", "--bootstrap", "127.0.0.1:1", "--kafka-properties", str(file)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert ended.returncode in (2, 3)
    assert MARKER not in ended.stderr + ended.stdout


@pytest.mark.parametrize("shown", [repr, str], ids=["repr", "str"])
def test_the_configuration_shows_no_settings(shown: Callable[[object], str]) -> None:
    assert MARKER not in shown(KafkaConfig("a:1", "", {"sasl.password": MARKER}))
