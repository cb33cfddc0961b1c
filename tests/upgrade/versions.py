"""Other versions of the product: copies of its packages with changes that a later version might bring."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.integration.pipeline import Pipeline

ROOT = Path(__file__).parents[2]
AddedFields = Mapping[str, Mapping[str, str]]
"""By file and class: the line of a field that the other version has after its last."""

ADDED_FIELDS: AddedFields = {
    "schemas/records.py": {
        "Execution": "spread: float | None = None",
        "ControlInForce": "decided_by: str | None = None",
        "Signal": 'venue: str = "XNYS"',
        "Position": 'desk: str = "one"',
        "Pnl": "turnover: float = 0.0",
        "Checkpoint": 'written_by: str = "next"',
    },
    "agents/strategy/stored.py": {
        "Block": 'written_by: str = "next"',
        "FeedState": 'host: str = "here"',
        "Progress": "begun: int = 0",
    },
}
"""Fields that a version before need not know, in every record and all state that the three agents exchange."""


def other_version(folder: Path, added: AddedFields) -> Path:
    """Copy the packages, compiled kernels included, and add fields; the folder to run them in."""
    for package in ("agents", "schemas", "deploy"):
        shutil.copytree(ROOT / package, folder / package)
    for name, fields in added.items():
        text = (folder / name).read_text()
        lines = text.splitlines()
        ends = {
            each.name: max(part.end_lineno or 0 for part in each.body if isinstance(part, ast.AnnAssign))
            for each in ast.parse(text).body
            if isinstance(each, ast.ClassDef) and each.name in fields
        }
        for owner in sorted(fields, key=ends.__getitem__, reverse=True):
            lines.insert(ends[owner], f"    {fields[owner]}")
        (folder / name).write_text("\n".join([*lines, ""]))
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
