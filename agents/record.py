"""quotes -> Parquet files by date and symbol, each usable quote exactly once: what `mm record` runs.

What the signals agent would skip is left out by the same rules, so that a backtest of the files decides as it did.
A flush writes its files under hidden names, then the journal that lists them with the offsets they reach, then gives
them their names: after a crash the journal tells which files belong and from where to go on.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

import filelock
import msgspec
import numpy as np

from agents.backtest.store import PRICES, by_date, file_path, write_file, zone_named
from agents.strategy.desk import Desk
from agents.strategy.session import Calendar
from agents.strategy.settings import Settings
from agents.strategy.stored import FeedState, feed_states, restore_feeds
from agents.stream.batch import Batch
from agents.stream.config import KafkaConfig
from agents.stream.errors import BadConfiguration, InstanceTaken
from agents.stream.follow import PartitionReader
from schemas.columns import QUOTE, Columns
from schemas.decoding import QuoteDecoder
from schemas.partitioning import partition_of
from schemas.times import NS
from schemas.topics import QUOTES

_FOLDER = ".recorded"
_POLL_SECONDS = 0.2
_BATCH = 10_000


@dataclass(frozen=True)
class RecordSettings:
    """folder: of the files; zone: whose dates divide them; a file is cut after so many seconds or quotes."""

    folder: Path
    zone: str = "UTC"
    seconds: float = 60.0
    quotes: int = 1_000_000


class PartitionState(msgspec.Struct):
    """What is recorded of a partition: the next offset, its clocks, each symbol's last ts."""

    offset: int = 0
    clock: int = 0
    feeds: list[FeedState] = []
    symbols: dict[str, int] = {}


class Journal(msgspec.Struct):
    """The state of a folder. files: of the last flush, relative; they belong even while they have hidden names."""

    topic: str
    zone: str
    partitions: dict[str, PartitionState] = {}
    files: list[str] = []


@dataclass
class Recorded:
    """What one run has written."""

    quotes: int = 0
    files: int = 0
    skipped: int = 0


def record(
    config: KafkaConfig,
    settings: RecordSettings,
    strategy: Settings,
    stopping: Callable[[], bool],
    tell: Callable[[Recorded], None] = lambda done: None,
) -> Recorded:
    """Record until `stopping`, then flush. Goes on where the folder's journal ends.

    Raises BadConfiguration, InstanceTaken, NoBroker, MissingTopics, InputGap.
    """
    with _locked(settings.folder):
        recorder = Recorder(config, settings, strategy)
        try:
            next_flush = time.monotonic() + settings.seconds
            while not stopping():
                recorder.take(_POLL_SECONDS)
                if recorder.waiting and (time.monotonic() >= next_flush or recorder.waiting >= settings.quotes):
                    recorder.flush()
                    tell(recorder.done)
                    next_flush = time.monotonic() + settings.seconds
            recorder.flush()
        finally:
            recorder.close()
    return recorder.done


class Recorder:
    """Reads, holds usable quotes, and flushes them. One process a folder."""

    def __init__(self, config: KafkaConfig, settings: RecordSettings, strategy: Settings) -> None:
        self.done = Recorded()
        self._folder = settings.folder
        self._zone: ZoneInfo = zone_named(settings.zone)
        topic = config.name(QUOTES.name)
        self._journal = _take_up(settings.folder, topic, settings.zone)
        offsets = {int(partition): state.offset for partition, state in self._journal.partitions.items()}
        self._reader = PartitionReader(config, QUOTES, offsets)
        self._partitions = {
            partition: _Partition(strategy, self._accepting(partition), self._journal.partitions.get(str(partition)))
            for partition in range(self._reader.partitions)
        }

    def _accepting(self, partition: int) -> Callable[[str], bool]:
        """Whether a symbol is of the partition: what the signals agent sets aside is not recorded either."""
        return lambda symbol: partition_of(symbol, self._reader.partitions) == partition

    @property
    def waiting(self) -> int:
        """Quotes that are held and not yet written."""
        return sum(partition.held for partition in self._partitions.values())

    def take(self, seconds: float) -> None:
        """Take what has come, waiting up to `seconds` for a first record."""
        for batch in self._reader.poll(seconds, _BATCH):
            self.done.skipped += self._partitions[batch.partition].take(batch)

    def flush(self) -> None:
        """Write what is held, all of it or nothing."""
        files: list[str] = []
        for number, partition in self._partitions.items():
            for symbol, columns in partition.drain():
                order = np.argsort(columns[0], kind="stable")
                ts, *prices = (column[order] for column in columns)
                for date, rows in by_date(ts, self._zone):
                    # Ordered by name as by offset: where files meet in one ts, a backtest takes them by name.
                    name = f"p{number:05d}-{partition.first_offset:020d}-{partition.next_offset:020d}"
                    path = file_path(self._folder, date, symbol, name)
                    write_file(_hidden(path), symbol, ts[rows], tuple(price[rows] for price in prices))
                    files.append(str(path.relative_to(self._folder)))
                self.done.quotes += len(ts)
        journal = Journal(self._journal.topic, self._journal.zone, files=files)
        journal.partitions = {str(number): partition.state() for number, partition in self._partitions.items()}
        _write_journal(self._folder, journal)
        _reveal(self._folder, files)
        self.done.files += len(files)

    def close(self) -> None:
        """Leave the topic; what is held and not flushed is read again by the next run."""
        self._reader.close()


@dataclass
class _Held:
    """Usable quotes of the symbols of one partition, as columns of parts."""

    numbers: list[np.ndarray] = field(default_factory=list)
    columns: list[tuple[np.ndarray, ...]] = field(default_factory=list)


class _Partition:
    """Decides by the desk's own rules which rows are usable, and holds them."""

    def __init__(self, strategy: Settings, accepts: Callable[[str], bool], stored: PartitionState | None) -> None:
        self._decoder = QuoteDecoder(accepts, round(strategy.future_seconds * NS))
        self._desk = Desk(strategy, Calendar())
        self._waiting = _Held()
        self.held = 0
        self.first_offset = self.next_offset = stored.offset if stored else 0
        if stored is None:
            return
        desk = self._desk
        desk.clock = stored.clock
        restore_feeds(stored.feeds, desk, self._decoder)
        desk.grow(len(stored.symbols))
        for symbol, ts in stored.symbols.items():
            row = desk.rows[self._decoder.index.add(symbol)]
            row["ts"] = ts
            row["rows"] = 1 if ts else 0
            row["next_decision"] = np.iinfo(np.int64).max // 2

    def take(self, batch: Batch) -> int:
        """Hold the usable rows of a batch; return how many were not."""
        if not self.held:
            self.first_offset = batch.first_offset
        self.next_offset = batch.next_offset
        lost = sum(reject.rows for reject in self._decoder.decode(batch))
        columns = self._decoder.columns
        rows = len(columns)
        quotes = columns.kind[:rows] == QUOTE
        self._desk.grow(len(self._decoder.index))
        unused = quotes & self._unused(columns)
        chosen = np.flatnonzero(quotes & ~unused)
        self._waiting.numbers.append(columns.number[chosen])
        self._waiting.columns.append(tuple(getattr(columns, name)[chosen] for name in ("ts", *PRICES)))
        self.held += len(chosen)
        return lost + int(np.count_nonzero(unused))

    def drain(self) -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
        """Every symbol's held rows (ts, bid, bid_size, ask, ask_size), in their order; nothing is held afterwards."""
        held, self._waiting, self.held = self._waiting, _Held(), 0
        if not held.numbers:
            return
        numbers = np.concatenate(held.numbers)
        columns = [np.concatenate(parts) for parts in zip(*held.columns, strict=True)]
        for number in np.unique(numbers).tolist():
            own = np.flatnonzero(numbers == number)
            yield self._decoder.index.symbols[number], tuple(column[own] for column in columns)

    def state(self) -> PartitionState:
        """What the next run needs."""
        desk, decoder = self._desk, self._decoder
        last = dict(zip(decoder.index.symbols, desk.rows["ts"].tolist(), strict=False))
        return PartitionState(self.next_offset, desk.clock, feed_states(desk, decoder.feeds), last)

    def _unused(self, columns: Columns) -> np.ndarray:
        """Which rows the desk does not use (bool[n])."""
        unused = np.zeros(len(columns), np.bool_)
        for _ in self._desk.advance(columns, len(self._decoder.feeds), unused):
            raise AssertionError("a desk that nobody watches gives no events")
        return unused


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _reveal(folder: Path, files: list[str]) -> None:
    for name in files:
        path = folder / name
        with contextlib.suppress(FileNotFoundError):
            # Missing: it was given its name before.
            _hidden(path).replace(path)


def _take_up(folder: Path, topic: str, zone: str) -> Journal:
    """The journal of a folder, its files in order: those that belong have their names, the others are gone."""
    path = folder / _FOLDER / "journal.json"
    journal = Journal(topic, zone)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            journal = msgspec.json.decode(path.read_bytes(), type=Journal)
    except (OSError, msgspec.DecodeError) as error:
        raise BadConfiguration(f"cannot use {path}: {error}") from error
    if (journal.topic, journal.zone) != (topic, zone):
        raise BadConfiguration(
            f"{folder} holds records of {journal.topic} by dates of {journal.zone}, not of {topic} by those of {zone}: "
            "give another --to"
        )
    _reveal(folder, journal.files)
    for stray in folder.rglob(".*.parquet.new"):
        stray.unlink()
    return journal


def _write_journal(folder: Path, journal: Journal) -> None:
    path = folder / _FOLDER / "journal.json"
    half = path.with_suffix(".new")
    for name in journal.files:
        _sync(_hidden(folder / name))
    half.write_bytes(msgspec.json.encode(journal))
    _sync(half)
    half.replace(path)


def _sync(path: Path) -> None:
    """Have a file's content on the disk before anything says that it is there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        (folder / _FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadConfiguration(f"cannot write to {folder}: {error}") from error
    lock = filelock.FileLock(folder / _FOLDER / "lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InstanceTaken(f"another process records into {folder}; give each its own --to") from None
    try:
        yield
    finally:
        lock.release()
