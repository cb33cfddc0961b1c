"""Instance names: stable over restarts, so that a restarted process fences its predecessor and nobody else."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from agents.stream.errors import BadConfiguration, InstanceTaken

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MOST_PER_MACHINE = 1024
_REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
"""What a restart does not mend, other than a full disk or a want of open files."""


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
    if wanted is None:
        wanted = name_of_container()
    if wanted is not None:
        check_name(wanted, "--instance")
        lock = _try(folder, role, wanted)
        if lock is None:
            raise InstanceTaken(f"{role} instance {wanted} already runs on this machine; choose another --instance")
        return Instance(wanted, lock)
    for number in range(_MOST_PER_MACHINE):
        lock = _try(folder, role, str(number))
        if lock is not None:
            return Instance(str(number), lock)
    raise InstanceTaken(f"{_MOST_PER_MACHINE} processes of {role} run on this machine already")


def name_of_container() -> str | None:
    """The host's name in a container, where every machine has the same numbers to give; else None."""
    return socket.gethostname() if os.environ.get("MM_CONTAINER") else None


def check_name(name: str, option: str) -> None:
    """Raise BadConfiguration that names the option unless an instance may have this name."""
    if not _NAME.fullmatch(name):
        raise BadConfiguration(f"{option} {name!r}: use up to 64 letters, digits, '.', '_' and '-'")


@contextlib.contextmanager
def state_folder(folder: Path) -> Iterator[None]:
    """Make the folder and use it in a `with` block. Raises BadConfiguration where it may not be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        remedy = "make it writable, or name another place: export MM_HOME=/a/folder"
        raise BadConfiguration(f"cannot use {folder} ({error.strerror}); {remedy}") from error


def _try(folder: Path, role: str, name: str) -> FileLock | None:
    with state_folder(folder):
        lock = FileLock(folder / f"{role}-{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock
