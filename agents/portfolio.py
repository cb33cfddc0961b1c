"""executions -> pnl: the agent that keeps profit and loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from agents.strategy.ledger import LEDGER, apply_fill, net, units_of, unrealised
from agents.stream.agent import Context, Outputs
from agents.stream.batch import Batch
from schemas.events import decision_id, headers
from schemas.records import UNITS_PER_SHARE, Execution, Pnl, Side
from schemas.topics import EXECUTIONS, PNL

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Execution).decode


class PortfolioAgent:
    """The role: one task a partition."""

    role = "portfolio"
    source = EXECUTIONS
    table = PNL
    state_version = 1
    outputs = ()

    def start(self, context: Context) -> None:
        """Nothing to prepare."""

    def task(self, partition: int, partitions: int) -> PortfolioTask:
        """The symbols of one partition of executions."""
        return PortfolioTask()

    def close(self) -> None:
        """Nothing to close."""


class PortfolioTask:
    """The ledgers of one partition's symbols, marked at their latest signals."""

    def __init__(self) -> None:
        self._ledgers: dict[str, np.ndarray] = {}
        self._executions = 0

    def load(self, table: Mapping[bytes, bytes], progress: Any, counters: Mapping[str, int]) -> None:
        """Take up the stored profit and loss."""
        self._executions = counters.get("used", 0)
        for row in table.values():
            pnl = msgspec.json.decode(row, type=Pnl)
            ledger = self._ledger(pnl.symbol)[0]
            ledger["position"] = units_of(pnl.shares)
            ledger["average_cost"] = pnl.average_cost
            ledger["realised"] = pnl.realised
            ledger["fees"] = pnl.fees

    def changed_rows(self) -> Iterable[tuple[bytes, bytes, None]]:
        """None: every row was published when it changed, so that readers see each step of profit and loss."""
        return ()

    def progress(self) -> None:
        """Nothing beside the table."""

    def counters(self) -> dict[str, int]:
        """Executions taken."""
        return {"used": self._executions}

    def process(self, batch: Batch, out: Outputs) -> None:
        """Book the fills of one batch and mark the positions, in their order."""
        for record in range(len(batch)):
            try:
                execution = _decode(batch.value(record) or b"")
            except (ValueError, RecursionError) as error:
                out.dead_letter(batch, record, f"malformed: {error}")
                continue
            self._executions += 1
            pnl = self._book(execution)
            event_id = decision_id(pnl.symbol, pnl.ts, execution.reason)
            out.send(PNL, pnl.symbol, _encode(pnl), headers("pnl", PortfolioAgent.role, event_id, pnl.time))

    def _ledger(self, symbol: str) -> np.ndarray:
        ledger = self._ledgers.get(symbol)
        if ledger is None:
            ledger = self._ledgers[symbol] = np.zeros(1, LEDGER)
        return ledger

    def _book(self, execution: Execution) -> Pnl:
        ledger = self._ledger(execution.symbol)[0]
        units = units_of(execution.shares)
        if units > 0 and execution.price is not None:
            sign = 1 if execution.side is Side.BUY else -1
            apply_fill(ledger, sign * units, execution.price, execution.fee)
        shares = int(ledger["position"]) / UNITS_PER_SHARE
        return Pnl(
            symbol=execution.symbol,
            ts=execution.ts,
            time=execution.time,
            shares=shares,
            average_cost=float(ledger["average_cost"]),
            realised=float(ledger["realised"]),
            unrealised=unrealised(ledger, execution.mid),
            fees=float(ledger["fees"]),
            net=net(ledger, execution.mid),
            mark=execution.mid,
            mark_ts=execution.quote_ts,
            exposure=shares * execution.mid,
        )
