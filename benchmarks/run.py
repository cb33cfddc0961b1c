"""The whole comparison, part by part, on a broker of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from benchmarks import consumption
from benchmarks.backtest import backtest
from benchmarks.idle import idle
from benchmarks.kernel import kernel
from benchmarks.latency import latency
from benchmarks.memory import memory
from benchmarks.report import Table
from benchmarks.restore import restore
from benchmarks.setting import Setting
from benchmarks.start import start
from benchmarks.warm import warm
from deploy.broker import Broker

PARTS: Mapping[str, Callable[[Setting], Iterator[Table]]] = {
    "json": consumption.json,
    "frames": consumption.frames,
    "peers": consumption.peers,
    "symbols": consumption.symbols,
    "scaling": consumption.scaling,
    "latency": latency,
    "kernel": kernel,
    "backtest": backtest,
    "start": start,
    "idle": idle,
    "restore": restore,
    "memory": memory,
}
"""What can be measured, by name."""
_WITHOUT_BROKER = ("kernel", "backtest")
_WARM_SECONDS = 20.0


def run(
    parts: Iterable[str], quotes: int, repeats: int, seconds: float, minutes: float, note: Callable[[str], None]
) -> Iterator[Table]:
    """Measure the named parts; each table as it is done. `note` gets progress."""
    for part in parts:
        # A broker of its own for each part: none is measured over what another has left.
        with (
            tempfile.TemporaryDirectory(prefix="mm-bench-", ignore_cleanup_errors=True) as folder,
            Broker(Path(folder) / "broker") as broker,
        ):
            setting = Setting(broker.bootstrap, Path(folder), quotes, repeats, seconds, minutes, note)
            if part not in _WITHOUT_BROKER:
                note(f"warming the broker up: {warm(setting.config('warm'), _WARM_SECONDS)} transactions")
            yield from PARTS[part](setting)
