"""The Java programs of this folder: Kafka's client, fetched, and the programs, compiled."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.java import find_java
from deploy.kafka_jars import cache_folder, fetch, pinned_jars

_HERE = Path(__file__).parent
_PINS = _HERE / "peers" / "jars.txt"
_MEMORY = ("-Xms1g", "-Xmx1g", "-XX:+UseParallelGC")


class NoCompiler(RuntimeError):
    """The programs cannot be compiled here; the message says why."""


@dataclass(frozen=True)
class JavaPrograms:
    """Compiled programs, by the name of their class."""

    class_path: str

    def command(self, program: str, *arguments: str) -> Sequence[str]:
        """How to run one."""
        return [find_java(), *_MEMORY, "-cp", self.class_path, program, *arguments]


def compiled(folder: Path) -> JavaPrograms:
    """The programs, compiled into a folder, which need not be there. Raises NoCompiler, and deploy's JarError."""
    folder.mkdir(exist_ok=True)
    home = os.environ.get("JAVA_HOME")
    compiler = shutil.which("javac", path=f"{home}/bin" if home else None) or shutil.which("javac")
    if compiler is None:
        raise NoCompiler("no javac: install a JDK of version 17 or newer, or name one by JAVA_HOME")
    jars = [str(path) for path in fetch(pinned_jars(_PINS), cache_folder("kafka-streams-4.3.1"))]
    sources = [str(path) for path in sorted((_HERE / "java").glob("*.java"))]
    class_path = os.pathsep.join([str(folder), *jars])
    command = [compiler, "--release", "17", "-d", str(folder), "-cp", class_path, *sources]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise NoCompiler(f"{compiler} failed: {result.stderr.strip()[-300:]}")
    return JavaPrograms(class_path)
