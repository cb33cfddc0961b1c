"""Price, thresholds and trades of one symbol on one date, thinned out for a chart."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow.compute as pc

from agents.backtest.catalog import Catalog, QuoteFile
from agents.backtest.collect import Summary
from agents.backtest.reading import read_part
from agents.backtest.task import Plan, kept_table
from agents.strategy import grid
from agents.strategy.desk import Desk
from agents.strategy.session import Calendar
from agents.strategy.settings import Marks, Settings
from agents.stream.errors import BadConfiguration
from schemas.times import NS

_POINTS = 2_400
_FEWEST_POINTS = 400
_MOST_TRADES = 1_000
"""Of one setting on one chart."""


@dataclass(frozen=True)
class Chosen:
    """A chart to be made."""

    symbol: str
    date: datetime.date

    @classmethod
    def parse(cls, text: str) -> Chosen:
        """From SYMBOL@DATE. Raises BadConfiguration."""
        symbol, at, date = text.rpartition("@")
        try:
            if at and symbol:
                return cls(symbol, datetime.date.fromisoformat(date))
        except ValueError:
            pass
        raise BadConfiguration(f"--chart {text}: expected SYMBOL@DATE, as BAC@2013-10-07")

    def files(self, catalog: Catalog) -> tuple[int, list[QuoteFile]]:
        """The block and the files of the symbol on the date. Raises BadConfiguration where there are none."""
        for number, symbols in enumerate(catalog.blocks):
            part = catalog.parts.get((self.date, number))
            if self.symbol in symbols and part:
                files = [file for file in part.files if self.symbol in file.symbols]
                if files:
                    return number, files
        raise BadConfiguration(f"--chart {self.symbol}@{self.date}: there are no quotes of this symbol and date")


def busiest(summary: Summary, catalog: Catalog, count: int) -> list[Chosen]:
    """The symbol-days with most trades, at most one of a symbol as long as there are other symbols.

    A symbol that is closed on a date on which it has no quotes has trades but no chart.
    """
    quoted = {(symbol, part.date) for part in catalog.parts.values() for file in part.files for symbol in file.symbols}
    days = {Chosen(symbol, datetime.date.fromisoformat(date)): n for (symbol, date), n in summary.trades_by_day.items()}
    ranked = sorted(
        (day for day in days if (day.symbol, day.date) in quoted), key=lambda day: (-days[day], day.symbol, day.date)
    )
    firsts: dict[str, Chosen] = {}
    for day in ranked:
        firsts.setdefault(day.symbol, day)
    chosen = list(firsts.values())[:count]
    return chosen + [day for day in ranked if day not in chosen][: count - len(chosen)]


def chart(plan: Plan, chosen: Chosen) -> dict[str, Any]:
    """Times (s), mid, average and thresholds of each setting, and its trades. Raises BadConfiguration.

    The average is begun anew with the date, so that it may differ from the strategy's in its first minutes.
    """
    block, files = chosen.files(plan.catalog)
    span = max(file.last_ts for file in files) - min(file.first_ts for file in files)
    # So many thresholds as there are settings: fewer points each keep the page small.
    points = max(_FEWEST_POINTS, int(_POINTS / len(plan.settings) ** 0.5))
    seconds = max(1, -(-span // (NS * points)))
    marks = [_marks(settings, files, chosen.symbol, seconds) for settings in plan.settings]
    trades = kept_table(plan.folders[chosen.date, block], "trades")
    trades = trades.filter(pc.equal(trades["symbol"].cast("string"), chosen.symbol))
    rows = [
        {
            "setting": row["setting"],
            "t": row["ts"] / NS,
            "side": row["side"],
            "shares": row["shares"],
            "price": row["price"],
            "reason": row["reason"],
            "position": row["position_after"],
        }
        for row in trades.to_pylist()
    ]
    shown = [row for n in range(len(plan.settings)) for row in [r for r in rows if r["setting"] == n][:_MOST_TRADES]]
    first = marks[0]
    return {
        "symbol": chosen.symbol,
        "date": str(chosen.date),
        "t": (first["ts"] / NS).tolist(),
        "mid": _short(first["mid"]),
        "bands": [{name: _short(own[name]) for name in ("ema", "buy_below", "sell_above")} for own in marks],
        "trades": shown,
        "counts": [sum(row["setting"] == n for row in rows) for n in range(len(plan.settings))],
    }


def _marks(settings: Settings, files: Any, symbol: str, seconds: int) -> np.ndarray:
    thinned = msgspec.structs.replace(settings, marks=Marks.GRID, mark_seconds=min(seconds, 86_400), session=None)
    desk = Desk(thinned, Calendar())
    desk.grow(1)
    desk.interest[0] = grid.LISTED
    found = [
        events[events["kind"] == grid.MARK]
        for columns in read_part(files, {symbol: 0})
        for events in desk.advance(columns, 0)
    ]
    return np.concatenate(found) if found else np.zeros(0, grid.EVENT)


def _short(values: np.ndarray) -> list[float | None]:
    """Seven digits are more than a chart shows; an unknown number becomes None."""
    return [None if np.isnan(value) else float(f"{value:.7g}") for value in values.tolist()]
