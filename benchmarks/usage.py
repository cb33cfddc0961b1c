"""Runs a command and tells what it has used with all its processes, also those that the command does not wait for.

Usage: python -m benchmarks.usage RESULT COMMAND...; RESULT: a file for the figures as JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import psutil

_BE_GIVEN_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER
_LOOK_SECONDS = 0.05


def main(result: str, *command: str) -> int:
    """Run the command; its status."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_BE_GIVEN_ORPHANS, 1, 0, 0, 0)
    began = time.perf_counter()
    process = subprocess.Popen(command)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _resident_bytes())
        time.sleep(_LOOK_SECONDS)
    seconds = time.perf_counter() - began
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_bytes": peak}
    Path(result).write_text(json.dumps(figures))
    return process.returncode


def _resident_bytes() -> int:
    """Of all processes below this one; what forked ones share counts in each."""
    total = 0
    for one in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += one.memory_info().rss
    return total


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
