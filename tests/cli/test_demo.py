"""The demo as a user runs it."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from agents.demo.run import DemoSettings, _Demo, _folder, _undisturbed_end
from agents.processes.supervisor import Program, Supervisor
from agents.stream.config import KafkaConfig
from agents.stream.watch import Watcher
from tests.cli.waiting import until

# a shorter grid than the default's: more decisions in the few seconds of a test
DEMO = (sys.executable, "-P", "-m", "agents.cli", "demo", "--set", "decision_seconds=2")
START_SECONDS = 150.0
SUMMARY = re.compile(r"([\d,]+) quotes, ([\d,]+) decisions, ([\d,]+) trades, ([\d,]+) of them after the pre-roll")


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


class Demo:
    """A demo under way; what it says is in a file."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.output = folder / "demo.output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen([*DEMO, *arguments], stdout=output, stderr=output)
        self.family: set[psutil.Process] = set()

    def wait_until_said(self, text: str, seconds: float = START_SECONDS) -> None:
        until(lambda: self._note_family() or text in self.said or self.process.poll() is not None, seconds, text)
        assert text in self.said, self.said

    @property
    def said(self) -> str:
        return self.output.read_text()

    def address(self, introduction: str) -> str:
        found = re.search(rf"{introduction} (\S+)", self.said)
        assert found, self.said
        return found[1]

    def agent(self, role: str) -> psutil.Process:
        return next(p for p in self.family if p.is_running() and role in p.cmdline())

    def summary(self, seconds: float) -> tuple[int, ...]:
        """Quotes, decisions, trades, trades after the pre-roll; once it has ended well and left nothing."""
        until(lambda: self._note_family() or self.process.poll() is not None, seconds, "the end")
        assert self.process.returncode == 0, self.said
        found = SUMMARY.search(self.said)
        assert found, self.said
        _, alive = psutil.wait_procs(self.family, 10)
        assert alive == []
        return tuple(int(number.replace(",", "")) for number in found.groups())

    def _note_family(self) -> None:
        try:
            self.family |= set(psutil.Process(self.process.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(60)


@pytest.mark.timeout(400)
def test_it_trades_heals_and_leaves_nothing(tmp_path: Path, temporary_folder: Path) -> None:
    demo = Demo(tmp_path, "--seconds", "30")
    try:
        demo.wait_until_said("first trade after")
        demo.wait_until_said("the page is at")
        with urllib.request.urlopen(demo.address("the page is at"), timeout=60) as answer:
            assert "<title>Market maker</title>" in answer.read().decode()
        assert demo.agent("surveillance").is_running()
        assert "--set=decision_seconds=2" in demo.agent("surveillance").cmdline()
        demo.agent("execution").kill()
        executions = Watcher(KafkaConfig(demo.address("Kafka runs at")), ["executions"], from_beginning=False)
        until(lambda: bool(executions.poll(0.2)), 60, "an execution after the kill")
        executions.close()
        quotes, decisions, trades, _ = demo.summary(120)
    finally:
        demo.end()
    assert "execution-0 was ended by SIGKILL" in demo.said
    assert quotes > 90_000 and decisions > trades
    assert trades >= 100
    assert list(temporary_folder.iterdir()) == []


@pytest.mark.timeout(400)
def test_a_demo_without_its_broker_ends_and_leaves_nothing(tmp_path: Path, temporary_folder: Path) -> None:
    demo = Demo(tmp_path)
    try:
        demo.wait_until_said("first trade after")
        next(p for p in demo.family if p.is_running() and "kafka.Kafka" in p.cmdline()).kill()
        until(lambda: demo.process.poll() is not None, 60, "the end")
    finally:
        demo.end()
    assert demo.process.returncode == 70
    assert demo.said.splitlines()[-1] == "mm: Kafka has ended, by whatever cause; its log stays with --keep"
    _, alive = psutil.wait_procs(demo.family, 10)
    assert alive == [] and list(temporary_folder.iterdir()) == []


def test_what_a_killed_demo_has_left_is_removed_by_the_next(
    temporary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temporary_folder))
    killed, running, begun, kept = (temporary_folder / f"mm-demo-{name}" for name in ("0", "1", "2", "3"))
    for folder in (killed, running, begun, kept):
        folder.mkdir()
    with FileLock(running / "running.lock"):
        (begun / "running.lock").touch()
        for folder in (killed, running):
            (folder / "running.lock").touch()
            os.utime(folder / "running.lock", (0, 0))
        with _folder(keep=True) as own:
            assert set(temporary_folder.iterdir()) == {running, begun, kept, own}
    assert list(own.iterdir()) == []


def test_the_desk_goes_on_without_an_onlooker_that_cannot_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = _Demo(DemoSettings(), tmp_path, time.monotonic())
    page = Program("dashboard", [sys.executable, "-c", "import sys; print('mm: the port is taken'); sys.exit(2)"])
    said = ""

    def told() -> bool:
        nonlocal said
        demo._check_onlookers()
        said += capsys.readouterr().err
        return bool(said)

    with Supervisor([page], tmp_path) as demo._looking_on:
        until(told, 60, "the news")
    assert "the desk goes on" in said and "the port is taken" in said


def test_what_is_started_while_the_demo_ends_still_ends_at_sigterm() -> None:
    with _undisturbed_end() as keep_calm:
        keep_calm()
        process = subprocess.Popen(["sleep", "600"])
        process.terminate()
        assert process.wait(60) == -signal.SIGTERM


@pytest.mark.timeout(400)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_gives_the_same_summary(number: int, tmp_path: Path, temporary_folder: Path) -> None:
    demo = Demo(tmp_path)
    try:
        demo.wait_until_said("first trade after")
        os.kill(demo.process.pid, number)
        quotes, _, trades, _ = demo.summary(60)
    finally:
        demo.end()
    assert quotes > 0 and trades > 0
    assert list(temporary_folder.iterdir()) == []
