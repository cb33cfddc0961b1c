"""The figures of a running market maker, read from its topics as any other program would."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import msgspec

from agents.feeds.pace import RecentRate
from agents.stream.config import KafkaConfig
from agents.stream.watch import Watcher
from schemas.records import Checkpoint, Execution, OutcomeReason, Pnl, Position, Trade
from schemas.topics import CHECKPOINTS, EXECUTIONS, PNL, POSITIONS, TRADES

_RECORDS: dict[str, type] = {
    CHECKPOINTS.name: Checkpoint,
    EXECUTIONS.name: Execution,
    PNL.name: Pnl,
    POSITIONS.name: Position,
    TRADES.name: Trade,
}
_SIGNALS_ROLE = "signals"
_LATEST_TRADES = 12


class Figures:
    """What has happened so far. Committed records only; call `poll` often.

    live_from: event time (ns) at which the history ends.
    """

    def __init__(self, config: KafkaConfig, live_from: int) -> None:
        self._live_from = live_from
        self._names = {config.name(name): name for name in _RECORDS}
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {
            name: msgspec.json.Decoder(kind) for name, kind in _RECORDS.items()
        }
        self._used: dict[int, int] = {}
        self._rate = RecentRate()
        self.quotes_per_second = 0.0
        self._ended: set[str] = set()
        self.decisions = 0
        self.trades = 0
        self.live_trades = 0
        self.latest: deque[Trade] = deque(maxlen=_LATEST_TRADES)
        self.positions: dict[str, Position] = {}
        self.pnl: dict[str, Pnl] = {}
        self.first_trade: float | None = None
        self._watcher = Watcher(config, _RECORDS, from_beginning=True)

    @property
    def quotes(self) -> int:
        """Quotes that the signals agents have used."""
        return sum(self._used.values())

    @property
    def net(self) -> float:
        """Profit and loss of all symbols together, after fees."""
        return sum(pnl.net for pnl in self.pnl.values())

    @property
    def complete(self) -> bool:
        """Whether the end of the feed has come through for every symbol."""
        return bool(self.pnl) and self._ended >= set(self.pnl)

    def poll(self, seconds: float) -> None:
        """Take what has come, waiting up to `seconds` for something."""
        for message in self._watcher.poll(seconds):
            name = self._names[message.topic()]
            if message.value() is not None:
                self._take(name, self._decoders[name].decode(message.value()))
        self.quotes_per_second = self._rate.at(self.quotes)

    def close(self) -> None:
        """Leave the topics."""
        self._watcher.close()

    def _take(self, name: str, record: Any) -> None:
        if name == CHECKPOINTS.name:
            if record.role == _SIGNALS_ROLE:
                self._used[record.partition] = record.counters.get("used", 0)
        elif name == EXECUTIONS.name:
            self._take_execution(record)
        elif name == TRADES.name:
            self._take_trade(record)
        elif name == POSITIONS.name:
            self.positions[record.symbol] = record
        else:
            self.pnl[record.symbol] = record

    def _take_execution(self, execution: Execution) -> None:
        if execution.reason is OutcomeReason.END:
            self._ended.add(execution.symbol)
        else:
            self.decisions += 1

    def _take_trade(self, trade: Trade) -> None:
        self.first_trade = self.first_trade or time.monotonic()
        self.trades += 1
        self.live_trades += trade.quote_ts > self._live_from
        self.latest.append(trade)
