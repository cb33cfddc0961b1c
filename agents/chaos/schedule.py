"""Which faults come when: made from a seed alone, so that a run can be repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from agents.chaos.proxy import Trouble
from agents.processes.fleet import ROLES


class Fault(StrEnum):
    """What is done to one agent, to the broker or to the network.

    KILL: SIGKILL, restarted under the same name; KILL_RENAMED: restarted under a new one; PAUSE: SIGSTOP for less than
    the group's session; ZOMBIE: for longer, so that the agent comes back thrown out of its group; USURP: while it is
    stopped, another process starts under its name; SCALE: the role goes to three processes and back to one.
    """

    KILL = "kill"
    KILL_RENAMED = "kill-renamed"
    PAUSE = "pause"
    ZOMBIE = "zombie"
    USURP = "usurp"
    SCALE = "scale"
    BROKER_KILL = "broker-kill"
    BROKER_PAUSE = "broker-pause"
    NETWORK = "network"
    DISK_FULL = "disk-full"


OF_AGENTS = (Fault.KILL, Fault.KILL_RENAMED, Fault.PAUSE, Fault.ZOMBIE, Fault.USURP, Fault.SCALE)
_WEIGHTS = (44, 10, 12, 20, 7, 7)
OF_SURROUNDINGS = (Fault.BROKER_KILL, Fault.BROKER_PAUSE, Fault.NETWORK, Fault.DISK_FULL)

_SHORTEST_GAP, _LONGEST_GAP = 0.2, 4.0  # of the mean gap between two faults of a sort
_SECONDS = {
    Fault.PAUSE: (0.5, 4.0),
    Fault.ZOMBIE: (8.0, 12.0),  # the session is 6 s
    Fault.USURP: (4.0, 10.0),
    Fault.SCALE: (10.0, 20.0),
    Fault.BROKER_KILL: (0.0, 4.0),
    Fault.BROKER_PAUSE: (2.0, 8.0),
    Fault.NETWORK: (2.0, 9.0),
    Fault.DISK_FULL: (0.0, 0.0),
}


@dataclass(frozen=True)
class Event:
    """One fault: `at` seconds after the beginning, for `seconds`.

    choice: 0 to 1, chooses among the processes of the role that run at the time. role None: every role (network).
    """

    at: float
    fault: Fault
    role: str | None = None
    choice: float = 0.0
    seconds: float = 0.0
    trouble: Trouble | None = None

    @property
    def text(self) -> str:
        """The event on one line."""
        what = f"{self.fault} {self.trouble}" if self.trouble else str(self.fault)
        whom = "" if self.fault in (Fault.BROKER_KILL, Fault.BROKER_PAUSE, Fault.DISK_FULL) else self.role or "all"
        return f"{what} {whom}".rstrip() + self.lasting

    @property
    def lasting(self) -> str:
        """For how long, as text."""
        return f" for {self.seconds:.1f} s" if self.seconds else ""


def plan(seed: int, seconds: float, agent_gap: float, surroundings_gap: float, disk: bool) -> list[Event]:
    """Faults over so many seconds, in the order of their times; gaps: mean seconds between two of a sort.

    disk: whether the broker's disk can be filled up.
    """
    random_agents, random_others = random.Random(f"agents-{seed}"), random.Random(f"surroundings-{seed}")
    events = [*_of_agents(random_agents, seconds, agent_gap)]
    events += _of_surroundings(random_others, seconds, surroundings_gap, disk)
    return sorted(events, key=lambda event: event.at)


def _of_agents(chance: random.Random, seconds: float, gap: float) -> list[Event]:
    events = []
    at = _gap(chance, gap)
    while at < seconds:
        fault = chance.choices(OF_AGENTS, _WEIGHTS)[0]
        events.append(Event(at, fault, chance.choice(ROLES), chance.random(), _lasting(chance, fault)))
        at += _gap(chance, gap)
    return events


def _of_surroundings(chance: random.Random, seconds: float, gap: float, disk: bool) -> list[Event]:
    """Each kind once in each round, in a new order: a short run sees most of them, a long one all of them often."""
    kinds: list[tuple[Fault, Trouble | None]] = [(Fault.NETWORK, trouble) for trouble in Trouble]
    kinds += [(Fault.BROKER_KILL, None)] * 2 + [(Fault.BROKER_PAUSE, None)]
    if disk:
        kinds.append((Fault.DISK_FULL, None))
    events: list[Event] = []
    round_: list[tuple[Fault, Trouble | None]] = []
    at = _gap(chance, gap)
    while at < seconds:
        if not round_:
            round_ = chance.sample(kinds, len(kinds))
        fault, trouble = round_.pop()
        role = chance.choice([None, *ROLES]) if fault is Fault.NETWORK else None
        events.append(Event(at, fault, role, 0.0, _lasting(chance, fault), trouble))
        at += events[-1].seconds + _gap(chance, gap)
    return events


def _gap(chance: random.Random, mean: float) -> float:
    return min(max(chance.expovariate(1 / mean), _SHORTEST_GAP * mean), _LONGEST_GAP * mean)


def _lasting(chance: random.Random, fault: Fault) -> float:
    return chance.uniform(*_SECONDS[fault]) if fault in _SECONDS else 0.0
