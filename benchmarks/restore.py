"""From kill -9 to the first output that was committed after it, with many symbols in every table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents.chaos import takeover
from agents.processes.fleet import ROLES
from benchmarks.report import Row, Table
from benchmarks.setting import Setting

SYMBOLS = 10_000


def restore(setting: Setting, symbols: int = SYMBOLS, roles: Sequence[str] = ROLES) -> Iterator[Table]:
    """Each role: started again under its name, and taken over by another process that runs beside it."""
    conditions = setting.conditions(
        f"{symbols:,} symbols in each role's table, of which {takeover.TRADING} still trade",
        f"{takeover.PARTITIONS} partitions",
        f"{setting.repeats} kills of each",
    )
    folder = setting.folder / "takeover"
    folder.mkdir()
    found = takeover.measure(symbols, folder, setting.repeats, setting.note, roles)
    yield Table("From kill -9 to committed output", conditions, [Row(n, {"s": s}) for n, s in found.items()])
