"""The inputs of surveillance: the rows that each one keeps, and how a record changes a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agents.surveillance import rules
from agents.surveillance.rows import ExecutionsRow, OrdersRow, PartitionRow, PnlRow, Row, SignalsRow, TradesRow
from schemas.records import Alert
from schemas.topics import COMPACTED, DEAD_LETTERS, EXECUTIONS, ORDERS, PNL, SIGNALS, TRADES, Topic, Writer

ROLE = "surveillance"


@dataclass(frozen=True)
class Source:
    """One input. apply: from a row (None: the first record), a record, where it lies, and the settings."""

    topic: Topic
    row: type[Row]
    apply: Callable[..., tuple[Any, list[Alert]]]

    @property
    def changelog(self) -> Topic:
        """Its table on the broker; Faust finds it by this name."""
        return Topic(f"{ROLE}-{self.topic.name}-changelog", self.row, "as the input's", Writer.SURVEILLANCE, COMPACTED)


SOURCES = (
    Source(TRADES, TradesRow, rules.apply_trade),
    Source(EXECUTIONS, ExecutionsRow, rules.apply_execution),
    Source(PNL, PnlRow, rules.apply_pnl),
    Source(SIGNALS, SignalsRow, rules.apply_signal),
    Source(ORDERS, OrdersRow, rules.apply_order),
    Source(DEAD_LETTERS, PartitionRow, rules.apply_dead_letter),
)
