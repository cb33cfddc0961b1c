"""A month of made-up quotes in the sessions of an exchange, to try backtests with."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from agents.backtest.store import PRICES, file_path, utc_date, write_file
from agents.feeds.generator import WalkSettings, until, walk
from agents.feeds.quotes import concatenate
from agents.strategy.session import calendar_of
from agents.strategy.settings import DAY_NS, Settings
from agents.stream.errors import BadConfiguration
from schemas.times import NS

_AROUND_NS = 300 * NS


def month_of_quotes(
    folder: Path, month: str, exchange: str, walks: WalkSettings
) -> Iterator[tuple[datetime.date, int]]:
    """Write the quotes of every session of a month (YYYY-MM), from five minutes before it to five minutes after.

    Yields each date with its number of quotes. The same arguments give the same files. Raises BadConfiguration.
    """
    for date, opens, closes in _sessions(month, exchange):
        settings = replace(walks, seed=walks.seed * 1_000_000 + date.toordinal())
        chunks = list(until(walk(settings, opens - _AROUND_NS), closes + _AROUND_NS))
        quotes = concatenate(chunks)
        for number in np.unique(quotes.number).tolist():
            rows = quotes.take(np.flatnonzero(quotes.number == number))
            symbol = quotes.symbols[number]
            order = np.argsort(rows.ts, kind="stable")
            prices = tuple(getattr(rows, name)[order] for name in PRICES)
            write_file(file_path(folder, date, symbol, "synthetic"), symbol, rows.ts[order], prices)
        yield date, len(quotes)


def _sessions(month: str, exchange: str) -> list[tuple[datetime.date, int, int]]:
    try:
        first = datetime.date.fromisoformat(f"{month}-01")
        calendar = calendar_of(Settings(session=exchange))
    except ValueError as error:
        raise BadConfiguration(f"{month}, {exchange}: expected YYYY-MM and an exchange's calendar: {error}") from error
    following = (first + datetime.timedelta(days=32)).replace(day=1)
    begin, end = ((date - datetime.date(1970, 1, 1)).days * DAY_NS for date in (first, following))
    chosen = np.flatnonzero((calendar.opens >= begin) & (calendar.opens < end))
    if not len(chosen):
        raise BadConfiguration(f"{exchange} has no session in {month} that its calendar knows")
    return [
        (utc_date(int(calendar.opens[n])), int(calendar.opens[n]), int(calendar.closes[n])) for n in chosen.tolist()
    ]
