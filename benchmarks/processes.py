"""Processes that are measured from outside."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from agents.stream.config import KafkaConfig
from deploy.ports import free_port

_END_SECONDS = 30.0
_READY_SECONDS = 120.0


class Running:
    """One process: what it has used, and whether it is still there."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self._log = log
        self._figures = psutil.Process(process.pid)

    def check(self) -> None:
        """Raise RuntimeError when it has ended."""
        if self.process.poll() is not None:
            words = self._log.read_text(errors="replace").strip()[-500:]
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}: {words}")

    def cpu_seconds(self) -> float:
        """User and system time that it has taken so far."""
        times = self._figures.cpu_times()
        return float(times.user + times.system)

    def resident_bytes(self) -> int:
        """Its resident memory."""
        return int(self._figures.memory_info().rss)


@contextlib.contextmanager
def running(name: str, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Running]:
    """A process for a `with` block; its output shows only when it fails."""
    with tempfile.TemporaryDirectory(prefix="mm-bench-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            yield Running(name, process, log)
        finally:
            process.terminate()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Agent:
    """How to run one agent against a broker, and where it shows whether it is ready."""

    def __init__(self, config: KafkaConfig, role: str, settings: Sequence[str] = (), instance: str = "0") -> None:
        self._port = free_port()
        self._config = config
        self.role = role
        options = [part for setting in settings for part in ("--set", setting)]
        own = [f"--health-port={self._port}", f"--instance={instance}"]
        self.command = [sys.executable, "-P", "-m", "agents.cli", role, *own, *options]

    @contextlib.contextmanager
    def running(self) -> Iterator[Running]:
        """The agent for a `with` block, with a home of its own."""
        where = {"MM_BOOTSTRAP": self._config.bootstrap, "MM_PREFIX": self._config.prefix}
        with (
            tempfile.TemporaryDirectory(prefix="mm-bench-") as home,
            running(f"the {self.role} agent", self.command, {**where, "MM_HOME": home}) as process,
        ):
            yield process

    def is_ready(self) -> bool:
        """Whether its partitions are assigned and restored."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/ready", timeout=5):
                return True
        except OSError:
            return False

    def wait_until_ready(self, process: Running) -> None:
        """Return when it is ready. Raises RuntimeError when it ends, TimeoutError."""
        deadline = time.monotonic() + _READY_SECONDS
        while not self.is_ready():
            process.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"the {self.role} agent was not ready after {_READY_SECONDS:.0f} s")
            time.sleep(0.01)
