"""The whole comparison: every contestant in turn, three times over, as one table."""

from __future__ import annotations

import platform
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import psutil

from agents.feeds.wire import Wire
from agents.stream.config import KafkaConfig
from benchmarks import contestants, latency
from benchmarks.measure import Cost
from benchmarks.quotes import Load, forget_results, write
from deploy.broker import Broker


@dataclass(frozen=True)
class Row:
    """One contestant over its repeats."""

    name: str
    costs: list[Cost]

    def markdown(self) -> str:
        """A line of the table."""
        speeds = [cost.per_second / 1e3 for cost in self.costs]
        cpu = [cost.cpu_per_million for cost in self.costs]
        peak = max(cost.peak_bytes for cost in self.costs) / 2**20
        return f"| {self.name} | {_spread(speeds, '.0f')} | {_spread(cpu, '.2f')} | {peak:.0f} |"


HEADER = (
    "| contestant | thousand quotes/s, min / median / max | CPU s per million quotes | peak MB |\n|---|---|---|---|"
)


def run(quotes: int, repeats: int, latency_seconds: float, note: Callable[[str], None]) -> list[Row]:
    """Measure everything on a broker of its own; `note` gets each line as it is known."""
    note(f"{platform.machine()}, {psutil.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f} before the run")
    with tempfile.TemporaryDirectory(prefix="mm-bench-") as folder, Broker(Path(folder)) as broker:
        note(HEADER)
        rows = [
            *_compare(KafkaConfig(broker.bootstrap, "json-"), Load(quotes), repeats, note),
            *_compare(KafkaConfig(broker.bootstrap, "frames-"), Load(4 * quotes, wire=Wire.FRAMES), repeats, note),
        ]
        if latency_seconds:
            for number in range(repeats):
                found = latency.measure(KafkaConfig(broker.bootstrap, f"latency{number}-"), latency_seconds)
                note(
                    f"quote to trade at 20 thousand quotes/s: p50 {found.p50:.1f} ms, p99 {found.p99:.1f} ms, "
                    f"p99.9 {found.p999:.1f} ms, {found.trades} trades"
                )
    return rows


def _compare(config: KafkaConfig, load: Load, repeats: int, note: Callable[[str], None]) -> list[Row]:
    quotes = write(config, load)
    wire = f"{quotes / 1e6:.1f} million {load.wire} quotes"
    runs: dict[str, Callable[[], Cost]] = {
        "librdkafka's batch call, nothing decoded": lambda: contestants.bare(
            "librdkafka", config, load.partitions, quotes
        ),
        "consume(10000), nothing decoded": lambda: contestants.bare("consume", config, load.partitions, quotes),
        "signals agent, marks off": lambda: _agent(config, load, quotes, ["marks=off"]),
        "signals agent, marks each second": lambda: _agent(config, load, quotes, ["marks=grid"]),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in runs}
    # In turn, so that a slow minute of the machine falls on all of them.
    for _ in range(repeats):
        for name, contestant in runs.items():
            costs[name].append(contestant())
    rows = [Row(f"{wire}: {name}", found) for name, found in costs.items()]
    for row in rows:
        note(row.markdown())
    return rows


def _agent(config: KafkaConfig, load: Load, quotes: int, settings: Sequence[str]) -> Cost:
    forget_results(config, load.partitions)
    return contestants.signals(config, load.partitions, quotes, settings)


def as_json(rows: Sequence[Row]) -> bytes:
    """Every single run, for other programs."""
    return orjson.dumps(
        [{"name": row.name, "runs": [asdict(cost) for cost in row.costs]} for row in rows],
        option=orjson.OPT_INDENT_2,
    )


def _spread(values: Sequence[float], form: str) -> str:
    shown = (min(values), statistics.median(values), max(values))
    return " / ".join(format(value, form) for value in shown)
