"""How long a role is without output after kill -9: ``python -m agents.chaos.takeover [SYMBOLS]``.

A table of many symbols, of which some still trade; then one process after the other is killed. Measured from the kill
to the arrival, at a reader of committed records, of the first transaction that was made after it.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from agents.chaos.arena import Arena
from agents.chaos.crew import Crew, Member
from agents.chaos.market import START_TS, Market, Player
from agents.chaos.progress import Progress
from agents.feeds.generator import WalkSettings, until, walk
from agents.feeds.quotes import Quotes
from agents.processes.fleet import ROLES
from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.watch import Watcher, read_whole
from schemas.times import NS, rfc3339
from schemas.topics import TOPICS

PARTITIONS = 4
TRADING = 100
_FIRST_SECONDS = 40
_SPEED = 20.0
_RATE = 50.0
_TRIES = 5
_PATIENCE_SECONDS = 120.0
_REST_SECONDS = 3.0
_TABLES = {"signals": "moments", "execution": "positions", "portfolio": "pnl"}


@dataclass(frozen=True)
class ManySymbols(Market):
    """Every symbol gets a few quotes at first; then only the first `TRADING` go on."""

    def quotes(self) -> Iterator[Quotes]:
        """See `Market`."""
        rate = self.symbols * 5 / _FIRST_SECONDS
        begin = START_TS + _FIRST_SECONDS * NS
        yield from until(walk(WalkSettings(self.symbols, rate, self.seed), START_TS), begin)
        yield from until(walk(WalkSettings(TRADING, _RATE, self.seed), begin), START_TS + round(self.seconds * NS))


def measure(
    symbols: int, folder: Path, tries: int, note: Callable[[str], None], roles: Sequence[str] = ROLES
) -> dict[str, list[float]]:
    """Seconds without output, by role and way of coming back; `note` gets each line as it is known."""
    with Arena(folder, note) as arena:
        config = arena.direct("")
        topics.create(clients.admin(config), config, TOPICS.values(), PARTITIONS, 1)
        crew = Crew({role: [f"--bootstrap={config.bootstrap}"] for role in ROLES}, folder, note)
        began = time.monotonic()
        market = ManySymbols(1, 3600 * _SPEED, symbols=symbols, changes=0)
        player = Player(config, market, lambda: (time.monotonic() - began) * _SPEED)
        crew.start()
        try:
            player.start()
            _until_all_have_worked(config, symbols, note)
            _report_tables(config, note)
            found = {}
            for role in roles:
                found[f"{role}, same name"] = _same_name(config, crew, role, tries)
                found[f"{role}, the other process takes over"] = _another(config, crew, role, tries)
                for what in list(found)[-2:]:
                    _tell(what, found[what], note)
            _report_tables(config, note)
            return found
        finally:
            crew.destroy()


def _until_all_have_worked(config: KafkaConfig, symbols: int, note: Callable[[str], None]) -> None:
    progress = Progress(config)
    began = time.monotonic()
    while progress.used("portfolio") < 6 * symbols:  # warming up, stale, and those that trade
        progress.poll(0.5)
        if time.monotonic() - began > _PATIENCE_SECONDS:
            raise TimeoutError(f"only {progress.used('portfolio'):,} executions were booked")
    progress.close()
    note(f"{symbols:,} symbols are in the tables after {time.monotonic() - began:.0f} s")


def _report_tables(config: KafkaConfig, note: Callable[[str], None]) -> None:
    for role, table in (*_TABLES.items(), ("every role", "checkpoints")):
        keys: set[bytes | None] = set()
        records = 0
        began = time.monotonic()
        for message in read_whole(config, table):
            keys.add(message.key())
            records += 1
        seconds = time.monotonic() - began
        ratio = records / max(1, len(keys))
        note(
            f"{role}: {table} has {records:,} records of {len(keys):,} keys ({ratio:.1f} each), read in {seconds:.2f} s"
        )


def _same_name(config: KafkaConfig, crew: Crew, role: str, tries: int) -> list[float]:
    taken = []
    for _ in range(tries):
        member = _alone(crew, role)
        watch = _Checkpoints(config, role)
        crew.kill(member)
        taken.append(watch.seconds_until(1))
        time.sleep(_REST_SECONDS)
    return taken


def _another(config: KafkaConfig, crew: Crew, role: str, tries: int) -> list[float]:
    taken = []
    for _ in range(tries):
        member = _alone(crew, role)
        joined = crew.join(role, 1)
        time.sleep(3 * _REST_SECONDS)  # the two share the partitions by then
        watch = _Checkpoints(config, role)
        crew.leave([member], politely=False)
        taken.append(watch.seconds_until(PARTITIONS))
        assert joined
    return taken


def _alone(crew: Crew, role: str) -> Member:
    while not crew.of(role):
        time.sleep(0.05)
    return crew.of(role)[0]


def _tell(what: str, seconds: list[float], note: Callable[[str], None]) -> None:
    median, worst = statistics.median(seconds), max(seconds)
    note(f"{what}: median {median:.2f} s, most {worst:.2f} s ({', '.join(f'{s:.2f}' for s in seconds)})")


class _Checkpoints:
    """Waits for checkpoints that were made after this object was."""

    def __init__(self, config: KafkaConfig, role: str) -> None:
        self._role = role
        self._watcher = Watcher(config, ["checkpoints"], from_beginning=False)
        self._watcher.poll(1.0)
        self._since = rfc3339(time.time_ns())
        self._began = time.monotonic()

    def seconds_until(self, partitions: int) -> float:
        """Time until so many partitions have one. Raises TimeoutError."""
        seen: set[int] = set()
        while len(seen) < partitions:
            for message in self._watcher.poll(0.05):
                row = orjson.loads(message.value())
                if row["role"] == self._role and row["time"] > self._since:
                    seen.add(row["partition"])
            if time.monotonic() - self._began > _PATIENCE_SECONDS:
                raise TimeoutError(f"{self._role}: only partitions {sorted(seen)} went on")
        seconds = time.monotonic() - self._began
        self._watcher.close()
        return seconds


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="mm-takeover-", ignore_cleanup_errors=True) as place:
        measure(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, Path(place), _TRIES, print)
