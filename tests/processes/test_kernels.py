"""What says that the kernels are compiled says so where numba would load them, and nowhere else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agents.processes import kernels

ASKED = "from agents.processes import kernels; print(kernels.are_compiled())"


def are_compiled(**environment: str) -> bool:
    """The answer of a process with these variables."""
    answer = subprocess.check_output([sys.executable, "-c", ASKED], env=os.environ | environment, text=True)
    return {"True": True, "False": False}[answer.strip()]


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    if not kernels.are_compiled():
        kernels.compile_all()


def test_they_are_compiled_for_every_process_that_would_load_them() -> None:
    assert are_compiled()


def test_they_are_not_where_numba_keeps_code_elsewhere(tmp_path: Path) -> None:
    assert not are_compiled(NUMBA_CACHE_DIR=str(tmp_path))


@pytest.mark.parametrize("other", [{"NUMBA_CPU_NAME": "generic"}, {"NUMBA_CPU_FEATURES": "+sse2"}], ids=str)
def test_they_are_not_for_another_processor(other: dict[str, str]) -> None:
    assert not are_compiled(**other)
