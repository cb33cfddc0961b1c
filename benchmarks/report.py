"""Tables of figures, in markdown for people and in JSON for programs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True)
class Row:
    """One contestant or case: each figure over its repeats."""

    name: str
    figures: dict[str, list[float]]


@dataclass(frozen=True)
class Table:
    """Figures that belong together, with the conditions under which they were taken."""

    title: str
    conditions: str
    rows: list[Row]
    remarks: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """The table, minimum / median / maximum where there are several repeats."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row.figures))
        lines = [f"**{self.title}**. {self.conditions}", "", _line(["", *columns]), "|---" * (len(columns) + 1) + "|"]
        lines += [_line([row.name, *(_spread(row.figures.get(name, ())) for name in columns)]) for row in self.rows]
        lines += ["", *(f"- {remark}" for remark in self.remarks)] if self.remarks else []
        return "\n".join(lines) + "\n"


def row(name: str, runs: Iterable[Mapping[str, float]]) -> Row:
    """The row of a contestant's runs, each given as its figures by name."""
    figures: dict[str, list[float]] = {}
    for run in runs:
        for column, value in run.items():
            figures.setdefault(column, []).append(value)
    return Row(name, figures)


def as_json(machine: Mapping[str, Any], tables: Sequence[Table]) -> bytes:
    """Every single figure."""
    report = {"machine": machine, "tables": [asdict(table) for table in tables]}
    return orjson.dumps(report, option=orjson.OPT_INDENT_2)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.strip() for cell in cells) + " |"


def _spread(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "".join(map(_shown, values))
    return " / ".join(map(_shown, (min(values), statistics.median(values), max(values))))


def _shown(value: float) -> str:
    """Three digits, or all before the point."""
    size = abs(value)
    return f"{value:,.{0 if size >= 100 else 1 if size >= 10 else 2}f}"
