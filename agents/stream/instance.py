"""Instance names: stable over restarts, so that a restarted process fences its predecessor and nobody else."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from agents.stream.errors import BadConfiguration, InstanceTaken

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MOST_PER_MACHINE = 1024


class Instance:
    """A name that no other process of the role holds on this machine, while the object lives."""

    def __init__(self, name: str, lock: FileLock | None) -> None:
        self.name = name
        self._lock = lock

    def release(self) -> None:
        """Give the name back."""
        if self._lock is not None:
            self._lock.release()


def claim(role: str, wanted: str | None, folder: Path) -> Instance:
    """The wanted name; else the host's in a container; else the first number that is free on this machine.

    Raises InstanceTaken or BadConfiguration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if wanted is None and os.environ.get("MM_CONTAINER"):
        wanted = socket.gethostname()
    if wanted is not None:
        if not _NAME.fullmatch(wanted):
            raise BadConfiguration(f"--instance {wanted!r}: use up to 64 letters, digits, '.', '_' and '-'")
        lock = _try(folder, role, wanted)
        if lock is None:
            raise InstanceTaken(f"{role} instance {wanted} already runs on this machine; choose another --instance")
        return Instance(wanted, lock)
    for number in range(_MOST_PER_MACHINE):
        lock = _try(folder, role, str(number))
        if lock is not None:
            return Instance(str(number), lock)
    raise InstanceTaken(f"{_MOST_PER_MACHINE} processes of {role} run on this machine already")


def _try(folder: Path, role: str, name: str) -> FileLock | None:
    lock = FileLock(folder / f"{role}-{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock
