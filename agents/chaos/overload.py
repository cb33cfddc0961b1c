"""Input far above capacity: ``python -m agents.chaos.overload [SYMBOLS] [EVENT_SECONDS] [QUOTES_A_SECOND] [WITHIN]``.

Everything is published within so many seconds, 0 for as fast as the broker takes it; then it is told how much memory
the agents used, how long they needed, and whether anything was lost.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psutil

from agents.chaos.audit import audit
from agents.chaos.crew import Crew
from agents.chaos.evidence import collect
from agents.chaos.market import Market, Player
from agents.chaos.progress import Progress
from agents.processes.fleet import ROLES
from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from deploy.broker import Broker
from schemas.topics import TOPICS

PARTITIONS = 4
_PATIENCE_SECONDS = 1800.0
_LOOK_SECONDS = 2.0
_MB = 1e6


def measure(market: Market, speed: float, folder: Path) -> bool:
    """Print the figures; whether the audit found everything in order. speed: event time a second, 0 for no limit."""
    with Broker(folder / "broker") as broker:
        config = KafkaConfig(broker.bootstrap)
        topics.create(clients.admin(config), config, TOPICS.values(), PARTITIONS, 1)
        crew = Crew({role: [f"--bootstrap={config.bootstrap}"] for role in ROLES}, folder, print)
        progress = Progress(config)
        memory: dict[str, list[float]] = defaultdict(list)
        began = time.monotonic()
        player = Player(config, market, (lambda: (time.monotonic() - began) * speed) if speed else None)
        crew.start()
        try:
            player.start()
            sent_after: float | None = None
            lag = 0
            while time.monotonic() - began < _PATIENCE_SECONDS:
                progress.poll(_LOOK_SECONDS)
                _note_memory(crew, memory)
                lag = max(lag, player.sent - progress.used("signals"))
                if player.is_alive():
                    continue
                if player.error is not None:
                    raise player.error
                sent_after = sent_after or time.monotonic() - began
                if progress.behind() is None:
                    break
            seconds = time.monotonic() - began
            crew.stop()
        finally:
            crew.destroy()
        progress.close()
        print(
            f"{player.sent:,} quotes of {market.symbols:,} symbols sent within {sent_after or 0:.0f} s, "
            f"worked off after {seconds:.0f} s, {player.sent / seconds:,.0f} quotes/s; {lag:,} were waiting at the most"
        )
        for role, sizes in memory.items():
            print(f"{role}: {max(sizes):,.0f} MB of memory at the most, {sizes[-1]:,.0f} MB at the end")
        print(f"processes that ended: {dict(crew.statuses) or 'none'}")
        checks = audit(collect(config, market.published()))
        for check in checks:
            print(check.line)
        return all(check.good for check in checks)


def _note_memory(crew: Crew, memory: dict[str, list[float]]) -> None:
    for role in ROLES:
        for member in crew.of(role):
            with contextlib.suppress(psutil.Error):
                memory[role].append(psutil.Process(member.process.pid).memory_info().rss / _MB)


if __name__ == "__main__":
    defaults = ("50000", "60", "20000", "0")
    symbols, seconds, rate, within = (int(text) for text in [*sys.argv[1:], *defaults[len(sys.argv) - 1 :]])
    speed = seconds / within if within else 0.0
    with tempfile.TemporaryDirectory(prefix="mm-overload-", ignore_cleanup_errors=True) as place:
        sys.exit(not measure(Market(1, seconds, symbols, rate, changes=0), speed, Path(place)))
