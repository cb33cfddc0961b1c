"""What a date brought, as Arrow tables: the records of the pipeline, and the sums of a day."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from agents.backtest import kernel
from agents.backtest.arrow import column, texts
from agents.backtest.variant import HORIZONS_SECONDS, Acted, DateResult
from agents.strategy import codes
from agents.strategy.execution import NO_STATE, NONE
from agents.strategy.ledger import NOT_LATCHED
from schemas.records import UNITS_PER_SHARE
from schemas.times import rfc3339

_WORD = pa.dictionary(pa.int32(), pa.string())
_HEAD = [("setting", pa.int16()), ("date", pa.date32())]
MARKOUTS = [f"mid_{seconds}s" for seconds in HORIZONS_SECONDS]
"""Columns of trades: the mid so long after the fill."""

TRADES = pa.schema(
    [
        *_HEAD,
        ("id", pa.string()),
        ("symbol", _WORD),
        ("ts", pa.int64()),
        ("time", pa.string()),
        ("quote_ts", pa.int64()),
        ("side", _WORD),
        ("shares", pa.float64()),
        ("price", pa.float64()),
        ("fee", pa.float64()),
        ("position_after", pa.float64()),
        ("realised", pa.float64()),
        ("reason", _WORD),
        ("control_version", pa.int64()),
        ("settings", _WORD),
        ("mid", pa.float64()),
        *((name, pa.float64()) for name in MARKOUTS),
    ]
)
"""The record of `trades`, with the mid at the decision and after each horizon (null: not known)."""

EXECUTIONS = pa.schema(
    [
        *_HEAD,
        ("symbol", _WORD),
        ("ts", pa.int64()),
        ("time", pa.string()),
        ("quote_ts", pa.int64()),
        ("outcome", _WORD),
        ("reason", _WORD),
        ("side", _WORD),
        ("shares", pa.float64()),
        ("price", pa.float64()),
        ("fee", pa.float64()),
        ("position_before", pa.float64()),
        ("position_after", pa.float64()),
        ("mid", pa.float64()),
        ("control_version", pa.int64()),
        ("trade_id", pa.string()),
        ("cancelled", pa.bool_()),
    ]
)
"""The record of `executions`; cancelled: the edge was gone when the order arrived."""

_LEDGER_COLUMNS = [
    ("shares", pa.float64()),
    ("average_cost", pa.float64()),
    ("cash", pa.float64()),
    ("realised", pa.float64()),
    ("fees", pa.float64()),
    ("trades", pa.int64()),
    ("state", _WORD),
    ("control_version", pa.int64()),
    ("loss_latched_version", pa.int64()),
]
_PNL_COLUMNS = [
    ("unrealised", pa.float64()),
    ("net", pa.float64()),
    ("net_change", pa.float64()),
    ("mark", pa.float64()),
    ("mark_ts", pa.int64()),
]
_DAY_COLUMNS = [(name, pa.int64() if kernel.DAY[name].kind == "i" else pa.float64()) for name in kernel.DAY.names or ()]
DAYS = pa.schema([*_HEAD, ("symbol", _WORD), ("ts", pa.int64()), *_LEDGER_COLUMNS, *_PNL_COLUMNS, *_DAY_COLUMNS])
"""One row per setting, date and symbol: position, profit and loss at its end, and the sums of `kernel.DAY`."""


def trades(setting: int, settings: str, date: datetime.date, symbols: Sequence[str], day: DateResult) -> pa.Table:
    """The trades of a date, in the order in which they came, symbol by symbol."""
    acted = day.acted
    traded = acted.results["units"] != 0
    events, intents, results = acted.events[traded], acted.intents[traded], acted.results[traded]
    columns = {
        **_head(setting, date, len(events)),
        "id": _ids(symbols, events),
        "symbol": _words(events["number"], symbols),
        "ts": events["ts"],
        "time": _times(events["ts"]),
        "quote_ts": events["quote_ts"],
        "side": _words(results["side"], codes.SIDES),
        "shares": np.abs(results["units"]) / UNITS_PER_SHARE,
        "price": results["price"],
        "fee": results["fee"],
        "position_after": results["after"] / UNITS_PER_SHARE,
        "realised": results["realised"],
        "reason": _words(results["trade_reason"], codes.TRADE_REASONS),
        "control_version": intents["version"],
        "settings": _words(np.zeros(len(events), np.int32), [settings]),
        "mid": events["mid"],
        **{name: _or_null(day.markouts[:, column]) for column, name in enumerate(MARKOUTS)},
    }
    return _table(columns, TRADES)


def executions(setting: int, date: datetime.date, symbols: Sequence[str], acted: Acted) -> pa.Table:
    """The executions that were kept."""
    events, intents, results = acted.events, acted.intents, acted.results
    traded = results["units"] != 0
    versions = column(intents["version"], pa.int64(), intents["state"] == NO_STATE)
    columns = {
        **_head(setting, date, len(events)),
        "symbol": _words(events["number"], symbols),
        "ts": events["ts"],
        "time": _times(events["ts"]),
        "quote_ts": events["quote_ts"],
        "outcome": _words(results["outcome"], codes.OUTCOMES),
        "reason": _words(results["reason"], codes.OUTCOME_REASONS),
        "side": _words(np.where(results["outcome"] != NONE, results["side"], 0), codes.SIDES),
        "shares": np.abs(results["units"]) / UNITS_PER_SHARE,
        "price": _or_null(results["price"]),
        "fee": results["fee"],
        "position_before": results["before"] / UNITS_PER_SHARE,
        "position_after": results["after"] / UNITS_PER_SHARE,
        "mid": events["mid"],
        "control_version": versions,
        "trade_id": _ids(symbols, events, ~traded),
        "cancelled": acted.cancelled,
    }
    return _table(columns, EXECUTIONS)


def days(setting: int, date: datetime.date, symbols: Sequence[str], day: DateResult) -> pa.Table:
    """One row for each symbol that has had a signal so far."""
    known = np.flatnonzero(day.last["ts"] != 0)
    last, ledgers, sums = day.last[known], day.ledgers[known], day.days[known]
    columns = {
        **_head(setting, date, len(known)),
        "symbol": _words(known, symbols),
        "ts": last["ts"],
        "shares": ledgers["position"] / UNITS_PER_SHARE,
        **{name: ledgers[name] for name in ("average_cost", "cash", "realised", "fees", "trades")},
        "state": _words(last["state"], codes.STATES),
        "control_version": last["version"],
        "loss_latched_version": column(
            ledgers["latched_version"], pa.int64(), ledgers["latched_version"] == NOT_LATCHED
        ),
        "unrealised": day.unrealised[known],
        "net": day.net[known],
        "net_change": day.net[known] - day.net_before[known],
        "mark": last["mid"],
        "mark_ts": last["quote_ts"],
        **{name: sums[name] for name in kernel.DAY.names or ()},
    }
    return _table(columns, DAYS)


def _head(setting: int, date: datetime.date, rows: int) -> dict[str, np.ndarray]:
    return {"setting": np.full(rows, setting), "date": np.full(rows, np.datetime64(date, "D").astype(np.int64))}


def _ids(symbols: Sequence[str], events: np.ndarray, empty: np.ndarray | None = None) -> pa.Array:
    numbers, times = events["number"].tolist(), events["ts"].tolist()
    return texts([f"{symbols[number]}-{ts}" for number, ts in zip(numbers, times, strict=True)], empty)


def _times(times: np.ndarray) -> pa.Array:
    return texts([rfc3339(ts) for ts in times.tolist()])


def _words(places: np.ndarray, words: Sequence[str | None]) -> pa.Array:
    """Codes as words; a code whose word is None becomes null."""
    empty = np.array([word is None for word in words])[places]
    return pa.DictionaryArray.from_arrays(column(places, pa.int32(), empty), texts([str(word) for word in words]))


def _or_null(values: np.ndarray) -> pa.Array:
    return column(values, pa.float64(), np.isnan(values))


def _table(columns: Mapping[str, np.ndarray | pa.Array], schema: pa.Schema) -> pa.Table:
    arrays = [
        column(values, kind) if isinstance(values := columns[name], np.ndarray) else values
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
