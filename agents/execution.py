"""signals -> executions, trades, orders, positions: the agent that decides what is filled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from agents.strategy import codes
from agents.strategy import execution as rule
from agents.strategy.intents import intent_of
from agents.strategy.ledger import LEDGER, NOT_LATCHED, units_of
from agents.strategy.settings import Settings
from agents.stream.agent import Context, Outputs
from agents.stream.batch import Batch
from agents.stream.transaction import Headers
from schemas.events import decision_id, headers
from schemas.records import UNITS_PER_SHARE, Execution, Order, Outcome, Position, Signal, Trade
from schemas.topics import EXECUTIONS, ORDERS, POSITIONS, SIGNALS, TRADES

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Signal).decode
_Row = tuple[Any, ...]
"""The fields of a `rule.RESULT` or a `LEDGER`."""


class ExecutionAgent:
    """The role: one task a partition."""

    role = "execution"
    source = SIGNALS
    table = POSITIONS
    state_version = 1
    outputs = (EXECUTIONS, TRADES, ORDERS)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def start(self, context: Context) -> None:
        """Nothing to prepare."""

    def task(self, partition: int, partitions: int) -> ExecutionTask:
        """The symbols of one partition of signals."""
        return ExecutionTask(self._settings)

    def close(self) -> None:
        """Nothing to close."""


class ExecutionTask:
    """The ledgers of one partition's symbols."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._numbers: dict[str, int] = {}
        self._ledgers = np.zeros(64, LEDGER)
        self._changed: dict[str, Position] = {}
        self._signals = 0

    def load(self, table: Mapping[bytes, bytes], progress: Any, counters: Mapping[str, int]) -> None:
        """Take up the stored positions."""
        self._signals = counters.get("used", 0)
        for row in table.values():
            position = msgspec.json.decode(row, type=Position)
            number = self._number(position.symbol)  # first: it may put a larger array in place
            ledger = self._ledgers[number]
            latched = position.loss_latched_version
            ledger["position"] = units_of(position.shares)
            ledger["average_cost"] = position.average_cost
            ledger["cash"] = position.cash
            ledger["realised"] = position.realised
            ledger["fees"] = position.fees
            ledger["trades"] = position.trades
            ledger["latched_version"] = NOT_LATCHED if latched is None else latched

    def changed_rows(self) -> Iterable[tuple[bytes, bytes, Headers]]:
        """Positions of the symbols that have had a signal."""
        changed, self._changed = self._changed, {}
        for symbol, position in changed.items():
            event = headers("position", ExecutionAgent.role, f"{symbol}-{position.ts}", position.time)
            yield symbol.encode(), _encode(position), event

    def progress(self) -> None:
        """Nothing beside the table."""

    def counters(self) -> dict[str, int]:
        """Signals taken."""
        return {"used": self._signals}

    def process(self, batch: Batch, out: Outputs) -> None:
        """Execute the signals of one batch in their order."""
        signals = []
        for record in range(len(batch)):
            try:
                signals.append(_decode(batch.value(record) or b""))
            except (ValueError, RecursionError) as error:
                out.dead_letter(batch, record, f"malformed: {error}")
        intents = np.array([intent_of(signal, self._number(signal.symbol)) for signal in signals], rule.INTENT)
        self._signals += len(signals)
        results, ledgers = rule.execute(intents, self._ledgers, self._settings)
        orders = {}
        for signal, result, ledger in zip(signals, results.tolist(), ledgers.tolist(), strict=True):
            execution = _execution(signal, result)
            self._publish(signal, execution, result, out)
            self._changed[signal.symbol] = position = _position(signal, execution, result, ledger)
            orders[signal.symbol] = _order(signal, execution, position)
        for symbol, order in orders.items():
            event = headers("order", ExecutionAgent.role, f"{symbol}-{order.ts}", order.time)
            out.send(ORDERS, symbol, _encode(order), event)

    def _number(self, symbol: str) -> int:
        number = self._numbers.get(symbol)
        if number is None:
            number = self._numbers[symbol] = len(self._numbers)
            if number == len(self._ledgers):
                self._ledgers = np.concatenate([self._ledgers, np.zeros(number, LEDGER)])
            self._ledgers[number]["latched_version"] = NOT_LATCHED
        return number

    def _publish(self, signal: Signal, execution: Execution, result: _Row, out: Outputs) -> None:
        symbol, time = signal.symbol, signal.time
        event_id = decision_id(symbol, signal.ts, signal.reason)
        out.send(EXECUTIONS, symbol, _encode(execution), headers("execution", ExecutionAgent.role, event_id, time))
        trade = _trade(signal, execution, result)
        if trade is not None:
            out.send(TRADES, symbol, _encode(trade), headers("trade", ExecutionAgent.role, trade.id, time))


def _execution(signal: Signal, result: _Row) -> Execution:
    units, outcome = result[_UNITS], result[_OUTCOME]
    return Execution(
        symbol=signal.symbol,
        ts=signal.ts,
        time=signal.time,
        quote_ts=signal.quote_ts,
        outcome=codes.OUTCOMES[outcome],
        reason=codes.OUTCOME_REASONS[result[_REASON]],
        side=codes.SIDES[result[_SIDE]] if outcome != rule.NONE else None,
        shares=abs(units) / UNITS_PER_SHARE,
        price=result[_PRICE],
        fee=result[_FEE],
        position_before=result[_BEFORE] / UNITS_PER_SHARE,
        position_after=result[_AFTER] / UNITS_PER_SHARE,
        mid=signal.mid,
        control_version=signal.control.version if signal.control else None,
        trade_id=f"{signal.symbol}-{signal.ts}" if units else None,
    )


def _trade(signal: Signal, execution: Execution, result: _Row) -> Trade | None:
    if execution.trade_id is None or execution.side is None or execution.control_version is None:
        return None
    return Trade(
        id=execution.trade_id,
        symbol=signal.symbol,
        ts=signal.ts,
        time=signal.time,
        quote_ts=signal.quote_ts,
        side=execution.side,
        shares=execution.shares,
        price=result[_PRICE],
        fee=execution.fee,
        position_after=execution.position_after,
        realised=result[_REALISED],
        reason=codes.TRADE_REASONS[result[_TRADE_REASON]],
        control_version=execution.control_version,
        settings=signal.settings,
    )


def _position(signal: Signal, execution: Execution, result: _Row, ledger: _Row) -> Position:
    _position_units, average_cost, cash, realised, fees, trades, latched = ledger
    return Position(
        symbol=signal.symbol,
        ts=signal.ts,
        time=signal.time,
        shares=execution.position_after,
        average_cost=average_cost,
        cash=cash,
        realised=realised,
        fees=fees,
        trades=trades,
        state=codes.STATES[result[_STATE]],
        control_version=execution.control_version,
        loss_latched_version=None if latched == NOT_LATCHED else latched,
    )


def _order(signal: Signal, execution: Execution, position: Position) -> Order:
    limit = signal.control.max_position_dollars if signal.control else None
    return Order(
        symbol=signal.symbol,
        ts=signal.ts,
        time=signal.time,
        verdict=signal.verdict,
        reason=signal.reason,
        outcome=execution.outcome,
        outcome_reason=execution.reason if execution.outcome is not Outcome.NONE else None,
        position=position.shares,
        room_dollars=None if limit is None else max(0.0, limit - abs(position.shares) * signal.mid),
        state=position.state,
        bid=signal.bid,
        ask=signal.ask,
        buy_below=signal.buy_below,
        sell_above=signal.sell_above,
    )


# Places in a row of `rule.RESULT`.
_PRICE, _FEE, _REALISED, _UNITS, _BEFORE, _AFTER, _OUTCOME, _REASON, _TRADE_REASON, _SIDE, _STATE = range(11)
