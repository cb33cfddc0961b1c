"""Every topic: its record, key, only writer and cleanup policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from schemas import records


class Writer(StrEnum):
    """Who may write a topic."""

    FEEDS = "feeds"
    OPERATOR = "operator"
    SIGNALS = "signals"
    EXECUTION = "execution"
    PORTFOLIO = "portfolio"
    SURVEILLANCE = "surveillance"
    EVERY_AGENT = "every agent"
    MONEY_AGENTS = "each money agent its own key"


HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

KEPT_FOR_EVER = {"cleanup.policy": "delete", "retention.ms": "-1"}
# A restore reads a compacted topic whole: small segments that are cleaned soon keep that short.
COMPACTED = {
    "cleanup.policy": "compact",
    "segment.ms": "60000",
    "segment.bytes": str(16 << 20),
    "min.cleanable.dirty.ratio": "0.1",
    "max.compaction.lag.ms": "120000",
    "delete.retention.ms": "60000",
}


def kept_for(milliseconds: int, **more: str) -> dict[str, str]:
    """Topic settings that keep records for a time."""
    return {"cleanup.policy": "delete", "retention.ms": str(milliseconds), **more}


@dataclass(frozen=True, eq=False)
class Topic:
    """One topic; ``partitions`` None means the number that the whole chain shares."""

    name: str
    record: type | None
    key: str
    writer: Writer
    settings: dict[str, str] = field(default_factory=dict)
    partitions: int | None = None

    @property
    def compacted(self) -> bool:
        """Whether only the latest record of a key is kept."""
        return self.settings["cleanup.policy"] == "compact"

    @property
    def transactional(self) -> bool:
        """Whether its only writer uses transactions, whose ends are markers in the log that no reader gets."""
        return self.writer in (Writer.SIGNALS, Writer.EXECUTION, Writer.PORTFOLIO)


QUOTES = Topic(
    "quotes",
    records.Quote,
    "symbol",
    Writer.FEEDS,
    kept_for(DAY_MS, **{"retention.bytes": str(8 << 30), "segment.bytes": str(256 << 20)}),
)
CONTROLS = Topic("controls", records.Control, "symbol or *", Writer.OPERATOR, COMPACTED, partitions=1)
TICKS_BID_ASK = Topic("ticks_bid_ask", records.TickBidAsk, "symbol", Writer.SIGNALS, kept_for(DAY_MS))
PREDS = Topic("preds", records.Pred, "symbol", Writer.SIGNALS, kept_for(DAY_MS))
SIGNALS = Topic("signals", records.Signal, "symbol", Writer.SIGNALS, kept_for(7 * DAY_MS))
EXECUTIONS = Topic("executions", records.Execution, "symbol", Writer.EXECUTION, KEPT_FOR_EVER)
TRADES = Topic("trades", records.Trade, "symbol", Writer.EXECUTION, KEPT_FOR_EVER)
ORDERS = Topic("orders", records.Order, "symbol", Writer.EXECUTION, COMPACTED)
POSITIONS = Topic("positions", records.Position, "symbol", Writer.EXECUTION, COMPACTED)
PNL = Topic("pnl", records.Pnl, "symbol", Writer.PORTFOLIO, COMPACTED)
ALERTS = Topic("alerts", records.Alert, "symbol", Writer.SURVEILLANCE, kept_for(7 * DAY_MS))
DEAD_LETTERS = Topic(
    "dead-letters",
    None,
    "as it came",
    Writer.EVERY_AGENT,
    kept_for(7 * DAY_MS, **{"max.message.bytes": str(2 << 20)}),
)
MOMENTS = Topic("moments", None, "block of symbols", Writer.SIGNALS, COMPACTED)
CHECKPOINTS = Topic("checkpoints", records.Checkpoint, "role and partition", Writer.MONEY_AGENTS, COMPACTED)

TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        QUOTES,
        CONTROLS,
        TICKS_BID_ASK,
        PREDS,
        SIGNALS,
        EXECUTIONS,
        TRADES,
        ORDERS,
        POSITIONS,
        PNL,
        ALERTS,
        DEAD_LETTERS,
        MOMENTS,
        CHECKPOINTS,
    )
}

DEFAULT_CONTROLS: dict[str, records.Control] = {
    "AAPL": records.Control(max_position_dollars=10_000),
    "GOOG": records.Control(max_position_dollars=10_000),
    "BAC": records.Control(max_position_dollars=100_000),
}
"""What `controls` holds when the topic is first created."""
