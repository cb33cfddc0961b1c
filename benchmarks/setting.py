"""What every part of a run shares."""

from __future__ import annotations

import itertools
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from agents.stream.config import KafkaConfig
from benchmarks.quotes import Load, Written, write
from deploy.java import find_java
from deploy.kafka_jars import KAFKA_VERSION


@dataclass
class Setting:
    """A broker of the run's own, a folder, and how much is asked for."""

    bootstrap: str
    folder: Path
    quotes: int
    repeats: int
    seconds: float
    minutes: float
    note: Callable[[str], None]
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def config(self, name: str) -> KafkaConfig:
        """A prefix that nothing else of this run has."""
        return KafkaConfig(self.bootstrap, f"{name}{next(self._numbers)}-")

    def write(self, name: str, load: Load) -> Written:
        """Write a load under a prefix of its own."""
        self.note(f"writing about {load.quotes:,} {load.wire} quotes of {load.symbols:,} symbols")
        return write(self.config(name), load)

    def conditions(self, *what: str) -> str:
        """One line: what was measured, and how busy the machine is now."""
        load = f"load average {os.getloadavg()[0]:.1f} at the start"
        return "; ".join([*what, load])


def machine() -> dict[str, Any]:
    """Where and with what a run is made."""
    java = subprocess.run([find_java(), "-version"], capture_output=True, text=True, check=False)
    return {
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "java": java.stderr.splitlines()[0] if java.stderr else "none",
        "javac": shutil.which("javac") is not None,
        "kafka": KAFKA_VERSION,
        "confluent-kafka": version("confluent-kafka"),
        "numba": version("numba"),
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
