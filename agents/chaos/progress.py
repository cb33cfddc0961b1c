"""How far a run has come, seen from outside: read from the topics as any reader would."""

from __future__ import annotations

from collections import Counter

import orjson

from agents.chaos.evidence import SOURCES
from agents.stream.config import KafkaConfig
from agents.stream.groups import end_offsets
from agents.stream.watch import Watcher

_COUNTED = ("signals", "executions", "trades", "checkpoints")


class Progress:
    """Counts of committed records and the newest checkpoints; call `poll` again and again."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._names = {config.name(topic): topic for topic in _COUNTED}
        self._watcher = Watcher(config, _COUNTED, from_beginning=True)
        self.counts: Counter[str] = Counter()
        self.offsets: dict[tuple[str, int], int] = {}
        self._used: dict[tuple[str, int], int] = {}
        self._commits: Counter[str] = Counter()

    def poll(self, seconds: float) -> None:
        """Take in what has come, waiting up to so many seconds for a first record."""
        for message in self._watcher.poll(seconds):
            topic = self._names[message.topic()]
            self.counts[topic] += 1
            if topic == "checkpoints" and message.value() is not None:
                row = orjson.loads(message.value())
                at = row["role"], row["partition"]
                self._commits[row["role"]] += 1
                self.offsets[at] = row["offset"]
                self._used[at] = row["counters"].get("used", 0)

    def used(self, role: str) -> int:
        """Rows that a role has used so far."""
        return sum(count for (of, _), count in self._used.items() if of == role)

    def commits(self, role: str) -> int:
        """Checkpoints that a role has committed so far."""
        return self._commits[role]

    def behind(self) -> str | None:
        """What has not been worked off yet, None when all is; for a feed that has ended."""
        ends = end_offsets(self._config, SOURCES["signals"])
        left = sum(end - self.offsets.get(("signals", partition), 0) for partition, end in ends.items())
        if left:
            return f"signals: {left:,} records of quotes"
        for role, topic in (("execution", "signals"), ("portfolio", "executions")):
            left = self.counts[topic] - self.used(role)
            if left:
                return f"{role}: {left:,} records of {topic}"
        return None

    def close(self) -> None:
        """Leave the topics."""
        self._watcher.close()
