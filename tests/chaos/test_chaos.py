"""The short form of `mm chaos`: a fixed seed, real processes, real faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

SEED = "13"
MINUTES = "1.2"
SECONDS = 360


@pytest.mark.timeout(SECONDS + 90)
def test_nothing_is_lost_and_nothing_comes_twice() -> None:
    command = [sys.executable, "-P", "-m", "agents.cli", "chaos", "--seed", SEED, "--minutes", MINUTES]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said, _ = run.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        run.terminate()  # not killed: it has a file system to unmount
        said, _ = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert f"seed {SEED}: all checks hold" in said
    assert "FAIL" not in said
    assert "trades as in the undisturbed run" in said
