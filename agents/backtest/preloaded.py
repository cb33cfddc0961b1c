"""Imported by the process that workers are forked from: their modules, and the kernels of a task by a run in memory.

Reading a file is left out: Arrow's threads would not survive the fork.
"""

from __future__ import annotations

import datetime
import gc

import distributed  # noqa: F401
import numpy as np

from agents.backtest import tables, workers  # noqa: F401
from agents.backtest.controls import Timeline, same_for_all
from agents.backtest.variant import Options, Variant
from agents.strategy.session import calendar_of
from agents.strategy.settings import Settings
from schemas.columns import Columns
from schemas.records import Control
from schemas.times import NS

_SYMBOLS = ("LOAD",)
_SECONDS = 60


def _load_kernels() -> None:
    settings = Settings()
    timeline = Timeline.of(_SYMBOLS, tuple(same_for_all(_SYMBOLS, Control(max_position_dollars=1.0))))
    variant = Variant(settings, calendar_of(settings), timeline, Options())
    variant.begin(0, _SECONDS * NS)
    quotes = Columns(_SECONDS)
    quotes.length = _SECONDS
    quotes.ts[:] = np.arange(_SECONDS) * NS
    for name in ("bid", "bid_size", "ask", "ask_size"):
        getattr(quotes, name)[:] = 1.0
    variant.take(quotes)
    result = variant.finish(final=True)
    tables.trades(0, settings.hash, datetime.date(1970, 1, 1), _SYMBOLS, result)


_load_kernels()
# What is there by now is not collected by workers, which would copy the memory that they share.
gc.freeze()
