"""The peers' packages: an environment of their own, made once from their lock."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from deploy.kafka_jars import cache_folder

_LOCK = Path(__file__).parents[1] / "deploy" / "locks" / "peers.txt"


class NoPackages(RuntimeError):
    """The peers' packages cannot be installed here; the message says why."""


def python() -> str:
    """The Python that has them; installs them where they are missing. Raises NoPackages."""
    pins = _LOCK.read_bytes()
    name = f"peers-{hashlib.sha256(pins).hexdigest()[:12]}-{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache_folder(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    program, stamp = folder / "bin" / "python", folder / "peers.txt"
    with FileLock(folder.with_suffix(".lock")):
        # The stamp is written last: an environment without one was interrupted.
        if not (stamp.exists() and stamp.read_bytes() == pins):
            shutil.rmtree(folder, ignore_errors=True)
            _uv("venv", "--python", sys.executable, str(folder))
            _uv("pip", "sync", "--require-hashes", "--python", str(program), str(_LOCK))
            stamp.write_bytes(pins)
    return str(program)


def _uv(*arguments: str) -> None:
    result = subprocess.run([sys.executable, "-m", "uv", *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        raise NoPackages(f"uv {arguments[0]} failed: {result.stderr.strip()[-300:]}")
