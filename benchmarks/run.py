"""The whole comparison, part by part, on a broker of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import consumption
from benchmarks.idle import idle
from benchmarks.kernel import kernel
from benchmarks.latency import latency
from benchmarks.memory import memory
from benchmarks.report import Table
from benchmarks.restore import restore
from benchmarks.setting import Setting, machine
from benchmarks.start import start
from deploy.broker import Broker

PARTS: Mapping[str, Callable[[Setting], list[Table]]] = {
    "json": consumption.json,
    "frames": consumption.frames,
    "peers": consumption.peers,
    "symbols": consumption.symbols,
    "scaling": consumption.scaling,
    "latency": latency,
    "kernel": kernel,
    "start": start,
    "idle": idle,
    "restore": restore,
    "memory": memory,
}
"""What can be measured, by name."""


def run(
    parts: Iterable[str],
    quotes: int,
    repeats: int,
    seconds: float,
    minutes: float,
    note: Callable[[str], None],
    show: Callable[[str], None],
) -> tuple[dict[str, Any], list[Table]]:
    """Measure the named parts; where, and the tables. `note` gets progress, `show` each table as it is done."""
    where = machine()
    show(", ".join(f"{name} {value}" for name, value in where.items()) + "\n")
    tables: list[Table] = []
    for part in parts:
        # A broker of its own for each part: none is measured over what another has left.
        with (
            tempfile.TemporaryDirectory(prefix="mm-bench-", ignore_cleanup_errors=True) as folder,
            Broker(Path(folder) / "broker") as broker,
        ):
            setting = Setting(broker.bootstrap, Path(folder), quotes, repeats, seconds, minutes, note)
            found = PARTS[part](setting)
        for table in found:
            show(table.markdown())
        tables += found
    return where, tables
