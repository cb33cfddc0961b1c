"""The dashboard as a process of its own, by the command that users give."""

import contextlib
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.ports import free_port
from tests.dashboard.desk import SETTINGS
from tests.integration.pipeline import wait_until

ROOT = Path(__file__).parents[2]


@dataclass
class Served:
    """A running dashboard."""

    port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def served(
    bootstrap: str, prefix: str, *options: str, port: int | None = None, password: str | None = None
) -> Iterator[Served]:
    """A dashboard for a `with` block; it must end well when it is told to."""
    port = port or free_port()
    command = [sys.executable, "-P", "-m", "agents.cli", "dashboard", f"--port={port}", f"--bootstrap={bootstrap}"]
    command += [f"--prefix={prefix}", f"--set=decision_seconds={SETTINGS.decision_seconds}", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MM_", "PYTEST_"))}
    if password is not None:
        environment["MM_DASHBOARD_PASSWORD"] = password
    with tempfile.TemporaryDirectory(prefix="mm-test-dashboard-") as folder:
        log = Path(folder) / "log"
        environment["MM_HOME"] = folder
        with log.open("wb") as out:
            process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=environment)
        try:
            wait_until(lambda: _answers(port) or process.poll() is not None, "the dashboard to answer", 60)
            assert process.poll() is None, log.read_text()
            yield Served(port, process, log)
            assert process.poll() is None, log.read_text()
            process.terminate()
            assert process.wait(15) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
