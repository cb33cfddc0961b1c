"""One self-contained HTML page about a backtest: nothing is loaded from anywhere."""

from __future__ import annotations

import importlib.resources
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import orjson

from agents.backtest.charts import Chosen, busiest, chart
from agents.backtest.collect import Summary
from agents.backtest.statistics import LEAST_DAYS
from agents.backtest.task import DONE, Plan
from agents.backtest.variant import HORIZONS_SECONDS
from agents.stream.errors import BadConfiguration

_MOST_SYMBOLS = 400
_CHARTS = 4
_DIGITS = 9


@dataclass(frozen=True)
class Sweep:
    """The settings that were varied, and their values in the order in which they were given."""

    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def write_report(path: Path, plan: Plan, sweep: Sweep, summaries: Sequence[Summary], chosen: Sequence[Chosen]) -> None:
    """Write the page. chosen: the charts; none: of the busiest days. Raises BadConfiguration."""
    best = max(range(len(summaries)), key=lambda n: summaries[n].totals()["net_change"] or 0.0)
    charts = [chart(plan, one) for one in chosen or busiest(summaries[best], plan.catalog, _CHARTS)]
    page = _page(_data(plan, sweep, summaries, charts))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise BadConfiguration(f"cannot write {path}: {error}") from error


def _page(data: Mapping[str, Any]) -> str:
    own = importlib.resources.files("agents.backtest")
    uplot = importlib.resources.files("uplot") / "static"
    template = (own / "report.html").read_text(encoding="utf-8")
    # In a script element "</script" and "<!--" mean something, inside strings too.
    text = orjson.dumps(data).decode().replace("<", "\\u003c")
    filled = {
        "UPLOT_CSS": (uplot / "uPlot.min.css").read_text(encoding="utf-8"),
        "UPLOT_JS": (uplot / "uPlot.iife.js").read_text(encoding="utf-8"),
        "STYLE": (own / "report.css").read_text(encoding="utf-8"),
        "SCRIPT": (own / "report.js").read_text(encoding="utf-8"),
        "DATA": text,
    }
    for name, content in filled.items():
        template = template.replace(f"/*{name}*/", content, 1)
    return template


def _data(
    plan: Plan, sweep: Sweep, summaries: Sequence[Summary], charts: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    catalog = plan.catalog
    return {
        "first": str(catalog.days[0].date),
        "last": str(catalog.days[-1].date),
        "days": len(catalog.days),
        "dates": [str(day.date) for day in catalog.days],
        "symbols": len(catalog.symbols),
        "quotes": catalog.rows,
        "carry": plan.carry,
        "latency_ms": plan.options.latency_ns / 1e6,
        "least_days": LEAST_DAYS,
        "horizons": HORIZONS_SECONDS,
        "markouts": plan.options.markouts,
        "sweep": {name: list(values) for name, values in sweep.values.items()},
        "settings": [{**msgspec.to_builtins(settings), "hash": settings.hash} for settings in plan.settings],
        "controls": _controls(plan),
        "counters": _counters(plan),
        "results": [_result(summary) for summary in summaries],
        "charts": charts,
    }


def _result(summary: Summary) -> dict[str, Any]:
    totals = summary.totals()
    ranked = sorted(summary.symbols.items(), key=lambda item: -abs(item[1]["net_change"]))
    names = [
        *("net_change", "realised_change", "fees_change", "turnover", "buys", "sells", "max_exposure"),
        *("signals", "in_market", "closing_trades", "winning_trades"),
    ]
    return {
        "totals": {name: _finite(value) for name, value in totals.items()},
        "dates": [
            {"date": date, **{name: _finite(row[name]) for name in names}} for date, row in summary.dates.items()
        ],
        "by_symbol": [
            {"symbol": symbol, **{name: _finite(row[name]) for name in names}} for symbol, row in ranked[:_MOST_SYMBOLS]
        ],
        "symbols_left_out": max(0, len(ranked) - _MOST_SYMBOLS),
        "equity": {
            "t": [ts // 1_000_000_000 for ts in summary.equity_ts],
            "starts": summary.equity_starts,
            "net": [_finite(value) for value in summary.equity],
            "fall": [_finite(value) for value in summary.falls],
        },
        "markouts": summary.markouts.rows(),
    }


def _finite(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{_DIGITS}g}")


def _controls(plan: Plan) -> list[dict[str, Any]]:
    """The controls for the page; one line where every symbol has the same."""
    described = [
        {"key": line.key, "version": line.version, "control": msgspec.to_builtins(line.control)}
        for line in plan.controls
    ]
    if len(described) > 1 and all(line["control"] == described[0]["control"] for line in described):
        return [{**described[0], "key": f"each of {len(described)} symbols"}]
    return described[:200]


def _counters(plan: Plan) -> dict[str, int]:
    """Rows by what became of them, of the first setting."""
    total: dict[str, int] = {}
    for folder in plan.folders.values():
        for name, count in orjson.loads((folder / DONE).read_bytes())["counters"].items():
            total[name] = total.get(name, 0) + count
    return {name: count for name, count in total.items() if not name.startswith("clock")}
