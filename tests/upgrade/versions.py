"""Other versions of the product: copies of its packages with changes that a later version might bring."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.integration.pipeline import Pipeline

ROOT = Path(__file__).parents[2]
Changes = Mapping[str, tuple[tuple[str, str], ...]]
"""By file: what stands there, and what stands there in the other version."""

ADDED_FIELDS: Changes = {
    "schemas/records.py": (
        ("    settings: str\n\n\nclass Execution", '    settings: str\n    venue: str = "XNYS"\n\n\nclass Execution'),
        ("    state: State\n\n\nclass Tick", "    state: State\n    decided_by: str | None = None\n\n\nclass Tick"),
        ("    trade_id: str | None\n", "    trade_id: str | None\n    spread: float | None = None\n"),
        ("    loss_latched_version:", '    desk: str = "one"\n    loss_latched_version:'),
        ("    exposure: float\n", "    exposure: float\n    turnover: float = 0.0\n"),
        ("    state_version:", '    written_by: str = "next"\n    state_version:'),
    ),
    "agents/signals.py": (
        ("    schedules: dict[str, Schedule]\n", '    schedules: dict[str, Schedule]\n    written_by: str = "next"\n'),
        ("    controls_position: int\n", "    controls_position: int\n    begun: int = 0\n"),
        ("    open: bool\n", '    open: bool\n    host: str = "here"\n'),
    ),
}
"""Fields that a version before need not know, in every record and all state that the three agents exchange."""


def other_version(folder: Path, changes: Changes) -> Path:
    """Copy the packages, compiled kernels included, and change them; the folder to run them in."""
    for package in ("agents", "schemas", "deploy"):
        shutil.copytree(ROOT / package, folder / package)
    for name, replaced in changes.items():
        text = (folder / name).read_text()
        for old, new in replaced:
            assert text.count(old) == 1, f"{name}: {old!r}"
            text = text.replace(old, new)
        (folder / name).write_text(text)
    return folder


class Fleet:
    """Agents of several versions on one desk, as processes of the command line."""

    def __init__(self, desk: Pipeline, home: Path) -> None:
        self._desk = desk
        self._home = home
        self._running: dict[tuple[str, str], subprocess.Popen[bytes]] = {}

    def start(self, version: Path, role: str, instance: str) -> None:
        environment = os.environ | {
            "MM_BOOTSTRAP": self._desk.bootstrap,
            "MM_PREFIX": self._desk.prefix,
            "MM_HOME": str(self._home),
        }
        command = [sys.executable, "-m", "agents.cli", role, "--instance", instance]
        with self._log(role, instance).open("ab") as log:
            self._running[role, instance] = subprocess.Popen(
                command, cwd=version, env=environment, stdout=log, stderr=log
            )

    def end(self, role: str, instance: str) -> int:
        """The status of one that ends by itself."""
        return self._running.pop((role, instance)).wait(120)

    def stop(self, role: str, instance: str) -> None:
        """SIGTERM, and a clean end."""
        process = self._running.pop((role, instance))
        process.terminate()
        assert process.wait(60) == 0, self.said(role, instance)

    def stop_all(self) -> None:
        for role, instance in list(self._running):
            self.stop(role, instance)

    def said(self, role: str, instance: str) -> str:
        return self._log(role, instance).read_text()

    def alive(self) -> None:
        """Fail if one of them has ended."""
        for (role, instance), process in self._running.items():
            assert process.poll() is None, self.said(role, instance)

    def kill_all(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()

    def _log(self, role: str, instance: str) -> Path:
        return self._home / f"{role}-{instance}.log"


@contextmanager
def fleet(desk: Pipeline, home: Path) -> Iterator[Fleet]:
    """A fleet of which nothing is left afterwards."""
    made = Fleet(desk, home)
    try:
        yield made
    finally:
        made.kill_all()
