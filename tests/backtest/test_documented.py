"""The example of docs/backtest.md as a reader would run it: its commands, then its Python."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "backtest.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.S)
    assert found
    return found[1]


def test_the_example_runs_as_it_stands(tmp_path: Path) -> None:
    environment = {**os.environ, "MM_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}

    def call(command: list[str]) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    for line in block("sh").splitlines():
        name, *arguments = shlex.split(line)
        assert name == "mm"
        call([sys.executable, "-m", "agents.cli", *arguments])
    printed = call([sys.executable, "-c", block("python")]).split()
    assert int(printed[0]) == pq.read_metadata(tmp_path / "results" / "trades.parquet").num_rows > 1_000
    named = set(re.findall(r"`(\w+)`", PAGE.split("| Parquet file |")[1].split("`setting` numbers")[0]))
    assert {path.stem for path in (tmp_path / "results").glob("*.parquet")} <= named
    for page in ("report.html", "sweep.html"):
        assert "<title>Backtest</title>" in (tmp_path / page).read_text()
