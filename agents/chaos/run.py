"""A whole chaos run: the undisturbed one first, then the same input under faults, then the audit."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agents.chaos.arena import Arena
from agents.chaos.audit import Check, audit
from agents.chaos.crew import Crew
from agents.chaos.evidence import Evidence, collect
from agents.chaos.market import Market, Player
from agents.chaos.progress import Progress
from agents.chaos.schedule import Event, plan
from agents.chaos.storm import Storm
from agents.processes.fleet import ROLES
from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import StreamError
from schemas.topics import TOPICS

CALM, STORM = "calm-", "storm-"
PARTITIONS = 4
_DRAIN_SECONDS = 240.0
_CALM_SECONDS = 900.0
_POLL_SECONDS = 0.2
_LOOK_SECONDS = 1.0
_REPORT_SECONDS = 30.0


@dataclass(frozen=True)
class ChaosSettings:
    """How long and how hard. minutes: of the storm's time; speed: event seconds a second of it.

    agent_gap, surroundings_gap: mean seconds between two faults of agents, and of broker or network.
    """

    seed: int
    minutes: float = 3.0
    speed: float = 10.0
    agent_gap: float = 4.0
    surroundings_gap: float = 10.0
    files: tuple[Path, ...] = ()

    @property
    def market(self) -> Market:
        """The input."""
        seconds = self.minutes * 60 * self.speed
        return Market(self.seed, seconds, changes=round(12 * self.minutes), files=self.files)


@dataclass(frozen=True)
class Outcome:
    """What a run came to: the checks, the faults by kind, and how each agent that ended did."""

    checks: list[Check]
    faults: Counter[str]
    statuses: Counter[str]

    @property
    def good(self) -> bool:
        """Whether all checks are."""
        return all(check.good for check in self.checks)


Note = Callable[[str], None]


def run(settings: ChaosSettings, folder: Path, note: Note) -> Outcome:
    """Run it all in a folder, which keeps logs. Raises StreamError or BrokerError when it cannot even start."""
    with Arena(folder, note) as arena:
        if arena.disk.why_not is not None:
            note(f"no full disk in this run: {arena.disk.why_not}")
        market = settings.market
        for prefix in (CALM, STORM):
            config = arena.direct(prefix)
            topics.create(clients.admin(config), config, TOPICS.values(), PARTITIONS, 1)
        calm = _undisturbed(arena, market, folder, note)
        events = plan(
            settings.seed,
            settings.minutes * 60,
            settings.agent_gap,
            settings.surroundings_gap,
            disk=arena.disk.why_not is None,
        )
        return _disturbed(arena, settings, events, calm, folder, note)


def _undisturbed(arena: Arena, market: Market, folder: Path, note: Note) -> Evidence:
    config = arena.direct(CALM)
    with _crew(arena, CALM, folder, note) as crew, _playing(config, market, None) as player:
        progress = Progress(config)
        trouble = _drain(progress, player, _CALM_SECONDS, lambda: None)
        progress.close()
        crew.stop()
    if trouble is not None:
        raise StreamError(f"even the undisturbed run did not finish: {trouble}; see {folder}")
    evidence = collect(config, market.published())
    bad = [check.line for check in audit(evidence) if not check.good]
    if bad:
        raise StreamError(f"even the undisturbed run fails: {'; '.join(bad)}")
    note(f"undisturbed: {player.sent:,} quotes, {len(evidence.signals):,} signals, {len(evidence.trades):,} trades")
    return evidence


def _disturbed(
    arena: Arena, settings: ChaosSettings, events: list[Event], calm: Evidence, folder: Path, note: Note
) -> Outcome:
    config = arena.direct(STORM)
    with _crew(arena, STORM, folder, note) as crew:
        progress = Progress(config)
        _first_work(config, crew)
        storm = Storm(crew, arena, events, note, progress.commits)
        with _playing(config, settings.market, lambda: storm.seconds * settings.speed) as player:
            reported = _Reporter(note, progress, player)
            while player.is_alive() or not storm.over:
                storm.turn()
                progress.poll(0)
                reported()
            storm.calm_down()
            note("the storm is over; waiting until all is worked off")
            behind = _drain(progress, player, _DRAIN_SECONDS, reported)
        progress.close()
        stopped = crew.stop()
        found = collect(config, settings.market.published())
        checks = [
            _check("the feed sent everything", [repr(player.error)] if player.error else [], f"{player.sent:,} quotes"),
            _check("all input worked off", [behind] if behind else [], "nothing left"),
            _check("controls are those published", found.foreign_controls, "all"),
            _check("no agent gave up", crew.given_up, f"{sum(crew.statuses.values())} ended and were replaced"),
            _check("SIGTERM ends each agent with 0", stopped, "all"),
            _check("the broker came back each time", storm.failures, "yes"),
        ]
        return Outcome([*checks, *audit(found, calm)], storm.done, crew.statuses)


def _check(name: str, wrong: list[str], figure: str) -> Check:
    return Check(name, not wrong, "; ".join(wrong) if wrong else figure)


def _drain(progress: Progress, player: Player, seconds: float, look: Callable[[], None]) -> str | None:
    """Wait until all is worked off; what is not by then."""
    deadline = time.monotonic() + seconds
    behind: str | None = "the feed has not ended"
    while time.monotonic() < deadline:
        progress.poll(_POLL_SECONDS)
        look()
        if player.is_alive():
            continue
        if player.error is not None:
            return f"the feed failed: {player.error!r}"
        with contextlib.suppress(StreamError):
            behind = progress.behind()
        if behind is None:
            break
        time.sleep(_LOOK_SECONDS)
    return behind


def _first_work(config: KafkaConfig, crew: Crew) -> None:
    """Faults begin when every role has a process that runs; whether it is ready by then is left to chance."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    while not all(crew.of(role) for role in ROLES):
        if time.monotonic() > deadline:
            raise StreamError(f"the agents do not start: {'; '.join(crew.given_up)}")
        time.sleep(_POLL_SECONDS)


class _Reporter:
    """Tells now and then how far the run is."""

    def __init__(self, note: Note, progress: Progress, player: Player) -> None:
        self._note = note
        self._progress = progress
        self._player = player
        self._next = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _REPORT_SECONDS
            counts, progress = self._progress.counts, self._progress
            self._note(
                f"{self._player.sent:,} quotes sent, {progress.used('signals'):,} used; {counts['signals']:,} signals, "
                f"{counts['executions']:,} executions, {counts['trades']:,} trades"
            )


@contextlib.contextmanager
def _crew(arena: Arena, prefix: str, folder: Path, note: Note) -> Iterator[Crew]:
    logs = folder / prefix.strip("-")
    logs.mkdir(parents=True, exist_ok=True)
    options = {role: [f"--bootstrap={arena.through_proxy(role)}", f"--prefix={prefix}"] for role in ROLES}
    crew = Crew(options, logs, note)
    crew.start()
    try:
        yield crew
    finally:
        crew.destroy()


@contextlib.contextmanager
def _playing(config: KafkaConfig, market: Market, seconds: Callable[[], float] | None) -> Iterator[Player]:
    player = Player(config, market, seconds)
    player.start()
    yield player


def event_seconds(files: tuple[Path, ...]) -> float:
    """Event time that files span."""
    from agents.feeds.files import read_quotes

    first, last = math.inf, -math.inf
    for chunk in read_quotes(files):
        first, last = min(first, float(chunk.ts[0])), max(last, float(chunk.ts[-1]))
    return (last - first) / 1e9
