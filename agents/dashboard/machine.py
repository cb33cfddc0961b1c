"""State of the machine: lag, last commits, decision age, health pages, and what a person should be told."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from schemas import topics
from schemas.records import Checkpoint
from schemas.topics import Topic

log = logging.getLogger(__name__)

# What each money agent reads, and whether its writers' transactions leave markers in that log.
SOURCES: Mapping[str, tuple[Topic, int]] = {
    "signals": (topics.QUOTES, 0),
    "execution": (topics.SIGNALS, 1),
    "portfolio": (topics.EXECUTIONS, 1),
}
PULSE_TOPICS = tuple(topic for topic, _ in SOURCES.values())
_STUCK_SECONDS = 5.0
_RECENT_SECONDS = 30.0
_UNREADABLE_SECONDS = 900.0
"""How long a record that could not be read is told of: as long as the plots show what was beside it."""
_DAY_SECONDS = 86_400.0


class _Message(Protocol):
    def value(self) -> bytes | None: ...
    def timestamp(self) -> tuple[int, int]: ...


@dataclass(frozen=True)
class Health:
    """What one agent's health page said: ready, its text, and figures of its metrics by name.

    watching: of surveillance alone, what it sees of the desk.
    """

    url: str
    ready: bool
    text: str
    figures: Mapping[str, float] = field(default_factory=dict)
    agent: str | None = None
    watching: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Banner:
    """What a person should be told. detail: the part that changes while it lasts."""

    level: str
    text: str
    detail: str = ""


@dataclass
class _Place:
    """The newest checkpoint of a role and partition, and when it was committed (seconds since the epoch)."""

    checkpoint: Checkpoint
    committed: float


class Machine:
    """Collects what is known of broker, feed and agents. now: seconds since the epoch."""

    def __init__(self, now: Callable[[], float] = time.time, silent_seconds: float = 10.0) -> None:
        self._now = now
        self._silent_seconds = silent_seconds
        self._places: dict[tuple[str, int], _Place] = {}
        self._ends: Mapping[str, Mapping[int, int]] = {}
        self._quoted: float | None = None
        # Decision time, and seconds from it to its publication.
        self._ages: deque[tuple[float, float]] = deque(maxlen=1_000)
        self._reading_trouble: str | None = None
        self._pulse_trouble: str | None = None
        self._caught_up: bool | None = None
        self._behind_since: dict[str, float] = {}
        self._unreadable: tuple[float, str] | None = None  # when it was met, which and why
        self._fault: str | None = None
        self._health: Mapping[str, Health] = {}

    # -- what is told to it ---------------------------------------------------------------------------------------

    def on_checkpoint(self, message: _Message) -> None:
        """Take one record of checkpoints."""
        value = message.value()
        if value is not None:
            checkpoint = _decode(value)
            committed = message.timestamp()[1] / 1000
            self._places[checkpoint.role, checkpoint.partition] = _Place(checkpoint, committed)

    def on_decision(self, decided_ts: int, published_ms: int) -> None:
        """Note how long after its decision time an execution was published."""
        self._ages.append((decided_ts / 1e9, published_ms / 1000 - decided_ts / 1e9))

    def note_ends(self, ends: Mapping[str, Mapping[int, int]], quoted: float | None = None) -> None:
        """The broker has answered with the ends of `PULSE_TOPICS`; quoted: time of the newest quote, if known."""
        before = self._ends.get(topics.QUOTES.name)
        if before is not None and ends[topics.QUOTES.name] != before:
            self._quoted = self._now()
        elif quoted is not None:
            self._quoted = quoted
        self._ends = ends
        self._pulse_trouble = None

    def note_no_ends(self, text: str) -> None:
        """Why the broker has not told the ends: it does not answer, or topics are missing. Holds until it does."""
        self._pulse_trouble = text

    def note_no_reader(self, text: str) -> None:
        """Why the topics cannot be read. Holds until they are."""
        self._reading_trouble = text

    def note_fault(self, text: str) -> None:
        """The dashboard itself has failed."""
        self._fault = text

    def note_caught_up(self, caught_up: bool) -> None:
        """Topics are being read, and whether the past has been."""
        self._reading_trouble = None
        self._caught_up = caught_up

    def note_unreadable(self, where: str, why: str) -> None:
        """A record that the dashboard could not read. The log names the first of those that come close together."""
        if not self._told_of_unreadable():
            log.warning("a record could not be read and is left out: %s: %s", where, why)
        self._unreadable = self._now(), f"{where}: {why}"

    def note_health(self, health: Mapping[str, Health]) -> None:
        """What the health pages said, by address."""
        self._health = health

    # -- what it tells --------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything for the page, as JSON can hold it."""
        now = self._now()
        agents = [self._agent(role, now) for role in SOURCES]
        newest = max((decided for decided, _ in self._ages), default=0.0)
        ages = sorted(age for decided, age in self._ages if newest - decided < _RECENT_SECONDS)
        live = bool(ages) and abs(ages[-1]) < _DAY_SECONDS
        return {
            "now": now,
            "agents": agents,
            "lag": sum(agent["lag"] or 0 for agent in agents),
            "last_commit": max((place.committed for place in self._places.values()), default=None),
            "decision_age": ages[len(ages) // 2] if live else None,
            "decision_age_p99": ages[int(len(ages) * 0.99)] if live else None,
            "quoted": self._quoted,
            "health": [vars(health) for health in self._health.values()],
            "banners": [vars(banner) for banner in self._banners(agents, now)],
        }

    def _told_of_unreadable(self) -> bool:
        return self._unreadable is not None and self._now() - self._unreadable[0] <= _UNREADABLE_SECONDS

    def _agent(self, role: str, now: float) -> dict[str, Any]:
        topic, markers = SOURCES[role]
        places = {partition: place for (name, partition), place in self._places.items() if name == role}
        ends = self._ends.get(topic.name, {})
        lags = {
            partition: max(0, end - (places[partition].checkpoint.offset if partition in places else 0) - markers)
            for partition, end in ends.items()
        }
        counters: dict[str, int] = {}
        for place in places.values():
            for name, count in place.checkpoint.counters.items():
                counters[name] = counters.get(name, 0) + count
        lag = sum(lags.values()) if lags else None
        committed = max((place.committed for place in places.values()), default=None)
        if lag:
            self._behind_since.setdefault(role, now)
        else:
            self._behind_since.pop(role, None)
        behind = now - self._behind_since.get(role, now)
        quiet = now - committed if committed is not None else behind
        return {
            "role": role,
            "source": topic.name,
            "lag": lag,
            "last_commit": committed,
            "down": behind > _STUCK_SECONDS and quiet > _STUCK_SECONDS,
            "instances": self._instances(places),
            "counters": counters,
        }

    @staticmethod
    def _instances(places: Mapping[int, _Place]) -> list[dict[str, Any]]:
        instances: dict[str, dict[str, Any]] = {}
        for partition, place in sorted(places.items()):
            name = place.checkpoint.instance
            row = instances.setdefault(name, {"name": name, "partitions": [], "last_commit": 0.0})
            row["partitions"].append(partition)
            row["last_commit"] = max(row["last_commit"], place.committed)
        return list(instances.values())

    def _banners(self, agents: list[dict[str, Any]], now: float) -> list[Banner]:
        if self._fault is not None:
            return [
                Banner("bad", "The dashboard has stopped reading by a fault of its own, start it again:", self._fault)
            ]
        # The reader's own first: the broker may answer the pulse while the reader cannot begin.
        trouble = self._reading_trouble or self._pulse_trouble
        if trouble is None and self._caught_up is None:
            trouble = "Reading the topics has not begun"
        if trouble is not None:
            return [Banner("bad", f"{trouble}. What is shown is what was last known.")]
        banners = []
        for agent in agents:
            if agent["down"]:
                since = "never" if agent["last_commit"] is None else f"{now - agent['last_commit']:.0f} s ago"
                waiting = f"{agent['lag']} records wait, last commit {since}."
                banners.append(Banner("bad", f"The {agent['role']} agent is down:", waiting))
        banners += [
            Banner("bad", f"{health.agent or 'The agent'} at {health.url} is not ready:", health.text)
            for health in self._health.values()
            if not health.ready
        ]
        if not self._caught_up:
            banners.append(Banner("info", "Reading what has been …"))
        elif self._quoted is None and self._ends:
            banners.append(Banner("warn", "The feed is silent:", "no quotes have come yet."))
        elif self._quoted is not None and now - self._quoted > self._silent_seconds:
            banners.append(Banner("warn", "The feed is silent:", f"no quotes for {_duration(now - self._quoted)}."))
        if self._unreadable is not None and self._told_of_unreadable():
            last = f"the last: {self._unreadable[1]}"
            banners.append(Banner("warn", "Records could not be read and are missing here,", last))
        return banners


_decode = msgspec.json.Decoder(Checkpoint).decode


def _duration(seconds: float) -> str:
    for size, name in ((_DAY_SECONDS, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
