"""Prints a hashed lock without the packages that a list names: lock.py LOCK LIST. Standard library only."""

import re
import sys
from pathlib import Path

_PACKAGE = re.compile(r"([a-z0-9][a-z0-9.-]*)==")


def without(lock: str, left_out: set[str]) -> str:
    """The lock's text less the entries of `left_out`.

    Raises ValueError for a name that the lock does not have: a list that has grown old.
    """
    kept: list[str] = []
    seen: set[str] = set()
    keep = True
    for line in lock.splitlines(keepends=True):
        package = _PACKAGE.match(line)
        if package:
            seen.add(package[1])
            keep = package[1] not in left_out
        if keep:
            kept.append(line)
    if left_out - seen:
        raise ValueError(f"the lock does not have {', '.join(sorted(left_out - seen))}: take them out of the list")
    return "".join(kept)


def names(text: str) -> set[str]:
    """The names in a list with comments."""
    return {line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")}


if __name__ == "__main__":
    lock_file, list_file = map(Path, sys.argv[1:])
    print(without(lock_file.read_text(), names(list_file.read_text())), end="")
