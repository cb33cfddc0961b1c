"""Carries a plan of faults out over a running crew."""

from __future__ import annotations

import collections
import heapq
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable

from agents.chaos.arena import Arena
from agents.chaos.crew import Crew, Member
from agents.chaos.schedule import Event, Fault
from agents.processes.fleet import ROLES

_TURN_SECONDS = 0.05
_SCALE = 3
_HELD_SECONDS = 15.0
_UNHELD_EVERY = 4


class Storm:
    """Does what is planned when it is due; `turn` is called again and again, `calm_down` at the end.

    note: told of every fault and its end; commits: how many transactions a role has committed so far. Faults of the
    broker run beside those of agents, one at a time. The storm's time stands still while the next fault of a role waits
    until the role has committed something since the one before (every fourth does not wait, and none for ever): so
    faults hit processes at work, however slow the machine is.
    """

    def __init__(
        self,
        crew: Crew,
        arena: Arena,
        plan: list[Event],
        note: Callable[[str], None],
        commits: Callable[[str], int],
    ) -> None:
        self._crew = crew
        self._arena = arena
        self._note = note
        self._commits = commits
        self._turned = time.monotonic()
        self._seconds = 0.0
        self._held = 0.0
        self._order = itertools.count()
        self._plan = collections.deque(plan)
        self._begun = 0
        self._committed = dict.fromkeys(ROLES, -1)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._broker: list[threading.Thread] = []
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []

    @property
    def seconds(self) -> float:
        """The storm's time: seconds since its beginning, without those for which it stood still."""
        return self._seconds

    @property
    def over(self) -> bool:
        """Whether everything planned has been begun and ended."""
        return not self._plan and not self._due and not any(thread.is_alive() for thread in self._broker)

    def turn(self) -> None:
        """Do what is due by now."""
        now = time.monotonic()
        passed, self._turned = now - self._turned, now
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()
        if self._plan and self._plan[0].at <= self._seconds and self._waits(self._plan[0]):
            self._held += passed
        else:
            self._seconds += passed
        while self._plan and self._plan[0].at <= self._seconds and not self._waits(self._plan[0]):
            self._held = 0.0
            self._begin(self._plan.popleft())
        time.sleep(_TURN_SECONDS)

    def _waits(self, event: Event) -> bool:
        if event.role is None or event.fault is Fault.NETWORK:
            return False
        if self._held > _HELD_SECONDS or self._begun % _UNHELD_EVERY == 0:
            return False
        return self._commits(event.role) <= self._committed[event.role]

    def calm_down(self) -> None:
        """End every fault that lasts, begin no other."""
        for thread in self._broker:
            thread.join()
        self._arena.heal(None)
        for role in ROLES:
            for member in self._crew.stopped(role):
                self._crew.resume(member)

    def _after(self, seconds: float, step: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), step))

    def _begin(self, event: Event) -> None:
        if event.role is None or event.fault is Fault.NETWORK:
            self._surroundings(event)
        else:
            running = self._somebody(event.role)
            if not running:
                self.done["(nobody there)"] += 1
                return
            self._begun += 1
            self._committed[event.role] = self._commits(event.role)
            self._agent(event, running, running[int(event.choice * len(running))])
        self.done[f"{event.fault} {event.trouble}" if event.trouble else str(event.fault)] += 1

    def _somebody(self, role: str) -> list[Member]:
        """The running processes of a role; of the next one when all of its own are stopped or dead just now."""
        first = ROLES.index(role)
        return next((found for other in ROLES[first:] + ROLES[:first] if (found := self._crew.of(other))), [])

    def _agent(self, event: Event, running: list[Member], member: Member) -> None:
        crew, fault = self._crew, event.fault
        self._note(f"{event.fault} {member.name}{event.lasting}")
        if fault is Fault.KILL:
            crew.kill(member)
        elif fault is Fault.KILL_RENAMED:
            crew.replace(member)
        elif fault is Fault.SCALE:
            joined = crew.join(member.role, max(1, _SCALE - len(running)))
            self._after(event.seconds, lambda: crew.leave(joined, politely=event.choice < 0.5))
        else:
            crew.pause(member)
            if fault is Fault.USURP:
                crew.usurp(member)
            self._after(event.seconds, lambda: crew.resume(member))

    def _surroundings(self, event: Event) -> None:
        arena, trouble = self._arena, event.trouble
        self._note(event.text)
        if trouble is not None:
            arena.trouble(event.role, trouble)
            self._after(event.seconds, lambda: arena.heal(event.role))
        elif event.fault is Fault.BROKER_KILL:
            self._beside(lambda: arena.kill_broker(event.seconds))
        elif event.fault is Fault.BROKER_PAUSE:
            self._beside(lambda: arena.pause_broker(event.seconds))
        else:
            self._beside(arena.fill_disk)

    def _beside(self, step: Callable[[], None]) -> None:
        def run() -> None:
            try:
                step()
            except Exception as error:
                self.failures.append(f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=run, name="broker-fault", daemon=True)
        self._broker.append(thread)
        thread.start()
