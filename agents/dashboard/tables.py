"""The tables that the page shows: their columns, and rows by key or as a log, with what changed since last asked."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec

from schemas import topics
from schemas.topics import Topic

LOG_ROWS = 2_000


@dataclass(frozen=True)
class Column:
    """One column: its name, and the kind that says how the page shows and sorts it."""

    name: str
    kind: str


@dataclass(frozen=True)
class Layout:
    """One table of the page: its name and columns; log: the newest rows one by one, instead of the latest of a key."""

    name: str
    columns: tuple[Column, ...]
    log: bool = False


Row = tuple[Any, ...]
"""The values of the columns, after the row's id."""


class Table:
    """Rows of one layout. `take_changes` tells what happened since it was last called."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._rows: dict[str, Any] = {}
        self._log: list[tuple[int, str, Any]] = []  # by time: partitions are read one after the other
        self._changed: dict[str, Any] = {}

    def put(self, row_id: str, row: Any) -> None:
        """Add or replace a row; `row` is what `reader_of` its layout takes, or a tuple of the columns' values."""
        self.put_all({row_id: row})

    def put_all(self, rows: Mapping[str, Any]) -> None:
        """Add or replace many rows, of a log in about the order of their times."""
        self._changed.update(rows)
        if not self.layout.log:
            self._rows.update(rows)
            return
        log = self._log
        for row_id, row in rows.items():
            entry = row[0] if isinstance(row, tuple) else row.ts, row_id, row
            if not log or log[-1][0] <= entry[0]:
                log.append(entry)
            else:
                insort(log, entry, key=_when)
        gone = log[:-LOG_ROWS]
        del log[: len(gone)]
        self._changed.update((row_id, None) for _, row_id, _ in gone)

    def drop(self, row_id: str) -> None:
        """Take a row away."""
        if self._rows.pop(row_id, None) is not None:
            self._changed[row_id] = None

    def get(self, row_id: str) -> Any:
        """The row of a key, None when there is none."""
        return self._rows.get(row_id)

    def items(self) -> Iterable[tuple[str, Any]]:
        """Every row with its id, oldest first."""
        return [(row_id, row) for _, row_id, row in self._log] if self.layout.log else self._rows.items()

    def __len__(self) -> int:
        return len(self._log) if self.layout.log else len(self._rows)

    def take_changes(self) -> tuple[list[tuple[str, Any]], list[str]]:
        """Rows put and ids dropped since the last call."""
        changed, self._changed = self._changed, {}
        put = [(row_id, row) for row_id, row in changed.items() if row is not None]
        return put, [row_id for row_id, row in changed.items() if row is None]

    def forget_changes(self) -> None:
        """As `take_changes`, when nobody wants to know."""
        self._changed.clear()


def _when(entry: tuple[int, str, Any]) -> int:
    return entry[0]


_KINDS = {
    "symbol": "symbol",
    "ts": "time",
    "quote_ts": "time",
    "mark_ts": "time",
    "window_start": "time",
    **dict.fromkeys(("bid", "ask", "mid", "ema", "buy_below", "sell_above", "price", "mark", "average_cost"), "price"),
    "sd": "price",
    **dict.fromkeys(("cash", "realised", "unrealised", "fees", "fee", "net", "exposure", "room_dollars"), "dollars"),
    **dict.fromkeys(("shares", "position", "position_before", "position_after", "bid_size", "ask_size"), "shares"),
    **dict.fromkeys(("trades", "control_version", "loss_latched_version"), "whole"),
    **dict.fromkeys(("value", "threshold", "window_seconds"), "number"),
    **dict.fromkeys(("warm",), "flag"),
    **dict.fromkeys(("side", "verdict", "outcome", "state", "severity"), "word"),
}
_LEFT_OUT = {"time", "settings"}
_LAST = ("id", "trade_id")
"""Long names that repeat what other columns say."""


def layout_of(topic: Topic, *, log: bool = False, first: Sequence[str] = ()) -> Layout:
    """A table of a topic's record: all its fields but those that repeat another for machines, some of them first."""
    assert topic.record is not None
    names = [field.name for field in msgspec.structs.fields(topic.record) if field.name not in _LEFT_OUT]
    names.sort(key=lambda name: first.index(name) if name in first else len(first) + (name in _LAST))
    return Layout(topic.name, tuple(Column(name, _KINDS.get(name, "text")) for name in names), log)


def reader_of(layout: Layout) -> Callable[[Any], Row]:
    """A function that takes the values of the columns out of a record."""
    return attrgetter(*(column.name for column in layout.columns))


CONTROLS = Layout(
    topics.CONTROLS.name,
    (
        Column("symbol", "symbol"),
        Column("state", "word"),
        Column("max_position_dollars", "dollars"),
        Column("lot_shares", "shares"),
        Column("max_loss_dollars", "dollars"),
        Column("allow_short", "flag"),
        Column("min_fill_shares", "shares"),
        Column("size_step", "shares"),
        Column("effect", "effect"),
        Column("version", "whole"),
        Column("sent", "time"),
        Column("effective_from", "time"),
    ),
)
MONEY = Layout(
    "money",
    (
        Column("symbol", "symbol"),
        Column("net", "dollars"),
        Column("realised", "dollars"),
        Column("unrealised", "dollars"),
        Column("fees", "dollars"),
        Column("shares", "shares"),
        Column("average_cost", "price"),
        Column("mark", "price"),
        Column("mark_ts", "time"),
        Column("exposure", "dollars"),
        Column("trades", "whole"),
    ),
)
DEAD_LETTERS = Layout(
    topics.DEAD_LETTERS.name,
    (
        Column("time", "time"),
        Column("reason", "text"),
        Column("agent", "text"),
        Column("topic", "text"),
        Column("partition", "whole"),
        Column("offset", "whole"),
        Column("key", "text"),
        Column("value", "text"),
    ),
    log=True,
)
LAYOUTS: Sequence[Layout] = (
    CONTROLS,
    layout_of(topics.TICKS_BID_ASK),
    layout_of(topics.PREDS),
    layout_of(topics.TRADES, log=True),
    layout_of(topics.POSITIONS),
    layout_of(topics.PNL),
    layout_of(topics.ORDERS),
    layout_of(topics.EXECUTIONS, log=True),
    layout_of(topics.ALERTS, log=True, first=("symbol", "ts", "severity", "state", "rule", "text")),
    MONEY,
    DEAD_LETTERS,
)
