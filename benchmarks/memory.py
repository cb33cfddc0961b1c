"""Memory of a signals process with many symbols at full load."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from agents.feeds.generator import symbol_names
from agents.stream import clients, topics
from agents.stream.confirmed import write_confirmed
from benchmarks.committed import committed
from benchmarks.processes import Agent, running
from benchmarks.quotes import forget
from benchmarks.report import Table, row
from benchmarks.setting import Setting
from schemas.controls import encode_control
from schemas.records import Control
from schemas.topics import CONTROLS, QUOTES, TOPICS

SYMBOLS, PARTITIONS = 10_000, 4
_KEPT = {"retention.bytes": str(512 << 20), "segment.bytes": str(64 << 20)}
_LOOK_SECONDS = 1.0
_CONTROLS_AT_ONCE = 1_000


def memory(setting: Setting, symbols: int = SYMBOLS) -> Iterator[Table]:
    """A feed as fast as it can beside the agent, every default setting, marks each second of event time too."""
    config = setting.config("memory")
    # Hours of quotes need not stay on the disk, and of the results nothing that nobody reads.
    bounded = [
        topic if topic.compacted else replace(topic, settings=topic.settings | _KEPT) for topic in TOPICS.values()
    ]
    topics.create(clients.admin(config), config, bounded, PARTITIONS, 1)
    names = symbol_names(symbols)
    control = encode_control(Control(max_position_dollars=100_000))
    for i in range(0, len(names), _CONTROLS_AT_ONCE):
        write_confirmed(config, CONTROLS.name, [(name, control) for name in names[i : i + _CONTROLS_AT_ONCE]])
    conditions = setting.conditions(
        f"{symbols:,} symbols with controls, {PARTITIONS} partitions",
        f"{setting.minutes:g} minutes",
        "marks each second",
    )
    agent = Agent(config, "signals")
    flood = [sys.executable, "-m", "benchmarks.flood", config.bootstrap, config.prefix, str(symbols)]
    taken = committed(config, config.name("signals"), config.name(QUOTES.name))
    with agent.running() as process, running("the feed", flood, {}) as feed:
        while not taken():
            process.check()
            feed.check()
            time.sleep(0.1)
        began, before, first = time.monotonic(), process.cpu_seconds(), taken()
        sizes = []
        while time.monotonic() < began + 60 * setting.minutes:
            process.check()
            feed.check()
            sizes.append(process.resident_bytes() / 2**20)
            time.sleep(_LOOK_SECONDS)
        seconds, cpu, quotes = time.monotonic() - began, process.cpu_seconds() - before, taken() - first
    forget(config)
    fifth = max(1, len(sizes) // 5)
    figures = {
        "MB, median of the second fifth": statistics.median(sizes[fifth : 2 * fifth] or sizes),
        "of the last fifth": statistics.median(sizes[-fifth:]),
        "most": max(sizes),
        "thousand quotes/s": quotes / seconds / 1e3,
        "CPU s per million": cpu / quotes * 1e6,
    }
    yield Table("Memory at full load", conditions, [row("signals agent", [figures])])
