"""signals -> executions, trades, orders, positions: the agent that decides what is filled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from agents.strategy import codes
from agents.strategy import execution as rule
from agents.strategy.intents import fill_control
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
        intents = np.zeros(len(signals), rule.INTENT)
        for intent, signal in zip(intents, signals, strict=True):
            fill_intent(intent, signal, self._number(signal.symbol))
        self._signals += len(signals)
        orders = {}
        # One at a time, because each published position is that after its own signal.
        for i, signal in enumerate(signals):
            result = rule.execute(intents[i : i + 1], self._ledgers, self._settings)[0]
            orders[signal.symbol] = self._publish(signal, result, out)
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

    def _publish(self, signal: Signal, result: np.void, out: Outputs) -> Order:
        symbol, ts, time = signal.symbol, signal.ts, signal.time
        control = signal.control
        ledger = self._ledgers[self._numbers[symbol]]
        units = int(result["units"])
        trade_id = f"{symbol}-{ts}" if units else None
        side = codes.SIDES[result["side"]]
        after = int(result["after"]) / UNITS_PER_SHARE
        execution = Execution(
            symbol=symbol,
            ts=ts,
            time=time,
            quote_ts=signal.quote_ts,
            outcome=codes.OUTCOMES[result["outcome"]],
            reason=codes.OUTCOME_REASONS[result["reason"]],
            side=side if result["outcome"] != rule.NONE else None,
            shares=abs(units) / UNITS_PER_SHARE,
            price=float(result["price"]),
            fee=float(result["fee"]),
            position_before=int(result["before"]) / UNITS_PER_SHARE,
            position_after=after,
            mid=signal.mid,
            control_version=control.version if control else None,
            trade_id=trade_id,
        )
        event_id = decision_id(symbol, ts, signal.reason)
        out.send(EXECUTIONS, symbol, _encode(execution), headers("execution", ExecutionAgent.role, event_id, time))
        if trade_id is not None and side is not None and control is not None:
            trade = Trade(
                id=trade_id,
                symbol=symbol,
                ts=ts,
                time=time,
                quote_ts=signal.quote_ts,
                side=side,
                shares=execution.shares,
                price=float(result["price"]),
                fee=execution.fee,
                position_after=after,
                realised=float(result["realised"]),
                reason=codes.TRADE_REASONS[result["trade_reason"]],
                control_version=control.version,
                settings=signal.settings,
            )
            out.send(TRADES, symbol, _encode(trade), headers("trade", ExecutionAgent.role, trade_id, time))
        latched = int(ledger["latched_version"])
        state = codes.STATES[result["state"]]
        self._changed[symbol] = Position(
            symbol=symbol,
            ts=ts,
            time=time,
            shares=after,
            average_cost=float(ledger["average_cost"]),
            cash=float(ledger["cash"]),
            realised=float(ledger["realised"]),
            fees=float(ledger["fees"]),
            trades=int(ledger["trades"]),
            state=state,
            control_version=execution.control_version,
            loss_latched_version=None if latched == NOT_LATCHED else latched,
        )
        room = max(0.0, control.max_position_dollars - abs(after) * signal.mid) if control else None
        return Order(
            symbol=symbol,
            ts=ts,
            time=time,
            verdict=signal.verdict,
            reason=signal.reason,
            outcome=execution.outcome,
            outcome_reason=execution.reason if execution.outcome is not Outcome.NONE else None,
            position=after,
            room_dollars=room,
            state=state,
            bid=signal.bid,
            ask=signal.ask,
            buy_below=signal.buy_below,
            sell_above=signal.sell_above,
        )


def fill_intent(intent: np.void, signal: Signal, number: int) -> None:
    """Write a signal and its control into one row of `rule.INTENT`; number is that of its ledger."""
    intent["number"] = number
    intent["verdict"] = codes.VERDICT_CODES[signal.verdict]
    intent["reason"] = codes.SIGNAL_REASON_CODES[signal.reason]
    intent["session"] = codes.SESSION_CODES[signal.session]
    intent["buy"], intent["sell"] = signal.buy, signal.sell
    intent["bid"], intent["bid_size"] = signal.bid, signal.bid_size
    intent["ask"], intent["ask_size"] = signal.ask, signal.ask_size
    intent["mid"] = signal.mid
    fill_control(intent, signal.control)
