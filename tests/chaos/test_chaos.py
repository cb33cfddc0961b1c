"""The short form of `mm chaos`: a fixed seed, real processes, real faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

SEED = "13"
MINUTES = "1.2"
SECONDS = 360


@pytest.mark.timeout(SECONDS + 30)
def test_nothing_is_lost_and_nothing_comes_twice() -> None:
    command = [sys.executable, "-P", "-m", "agents.cli", "chaos", "--seed", SEED, "--minutes", MINUTES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert f"seed {SEED}: all checks hold" in said
    assert "FAIL" not in said
    assert "trades as in the undisturbed run" in said
