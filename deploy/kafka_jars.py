"""Kafka's jars: a pinned list, fetched once from Maven's central repository into a cache."""

import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import requests
from filelock import FileLock
from jgo.maven import MavenContext

KAFKA_VERSION = "4.2.2"
BROKER_PINS = Path(__file__).with_suffix(".txt")
ATTEMPTS = 3
TIMEOUT_SECONDS = 30


class JarError(Exception):
    """The jars cannot be had; the message says what to do."""


@dataclass(frozen=True)
class Jar:
    """One pinned jar: Maven coordinate, size in bytes, SHA-256 in hexadecimal."""

    group: str
    name: str
    version: str
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        """The jar's name in the cache."""
        return f"{self.name}-{self.version}.jar"


def pinned_jars(pins: Path = BROKER_PINS) -> list[Jar]:
    """The jars of a list of pins, by default those of the broker."""
    lines = pins.read_text().splitlines()
    return [_parse(line) for line in lines if not line.startswith("#")]


def _parse(line: str) -> Jar:
    coordinate, size, sha256 = line.split()
    group, name, version = coordinate.split(":")
    return Jar(group, name, version, int(size), sha256)


def cache_folder(name: str = f"kafka-{KAFKA_VERSION}") -> Path:
    """Where downloads are kept for every run of this user, by default the broker's jars."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "market-maker" / name


def fetch(jars: Sequence[Jar], folder: Path) -> list[Path]:
    """Make sure that `folder` holds `jars`, each with its pinned hash; their paths.

    A jar is verified before it appears under its name, so an interrupted fetch goes on where it stopped. Of
    several processes one fetches and the others wait. Progress goes to stderr.

    Raises JarError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            missing = [jar for jar in jars if not _is_intact(folder / jar.file_name, jar)]
            _fetch_all(missing, folder)
    except OSError as error:
        raise JarError(f"cannot keep jars in {folder}: {error}; make room or set XDG_CACHE_HOME") from error
    return [folder / jar.file_name for jar in jars]


def are_fetched(jars: Sequence[Jar], folder: Path) -> bool:
    """Whether `folder` holds all of them, as `fetch` put them there."""
    return all((folder / jar.file_name).exists() for jar in jars)


def _is_intact(path: Path, jar: Jar) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256


def _fetch_all(jars: Sequence[Jar], folder: Path) -> None:
    total = sum(jar.size for jar in jars)
    done = 0
    for number, jar in enumerate(jars, start=1):
        _fetch_one(jar, folder)
        done += jar.size
        _show(f"{folder.name}: {number} of {len(jars)} files, {done / 1e6:.1f} of {total / 1e6:.1f} MB")
    if jars and sys.stderr.isatty():
        print(file=sys.stderr)


def _fetch_one(jar: Jar, folder: Path) -> None:
    parts = folder / ".part"
    shutil.rmtree(parts, ignore_errors=True)
    path = _download(jar, parts)
    if not _is_intact(path, jar):
        shutil.rmtree(parts)
        raise JarError(
            f"{jar.file_name} is not the file that this version was made with (its SHA-256 differs): "
            "something on the way changes downloads; nothing was kept"
        )
    path.replace(folder / jar.file_name)
    shutil.rmtree(parts)


def _download(jar: Jar, parts: Path) -> Path:
    for attempt in range(1, ATTEMPTS + 1):
        # an empty repository of its own: jgo takes whatever an earlier attempt left for a whole file
        context = MavenContext(repo_cache=parts / str(attempt), timeout=TIMEOUT_SECONDS)
        try:
            return context.project(jar.group, jar.name).at_version(jar.version).artifact().resolve()
        except (requests.RequestException, RuntimeError) as error:
            cause = error
    raise JarError(
        f"cannot fetch {jar.file_name} ({type(cause).__name__}): "
        "check the network and run this again, what came is kept"
    ) from cause


def _show(text: str) -> None:
    """One line that is rewritten on a terminal, and a line a step elsewhere."""
    if sys.stderr.isatty():
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)
