"""Everything that the page shows, kept up to date from the topics' records; knows neither Kafka nor the web."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from operator import methodcaller
from typing import Any, Protocol

import msgspec
import orjson

from agents.dashboard import tables
from agents.dashboard.controls import ControlDesk
from agents.dashboard.history import History, execution_row, prediction_row
from agents.dashboard.machine import Banner, Machine
from agents.dashboard.money import EquityCurve, Money
from agents.dashboard.tables import Row, Table
from schemas import records, topics
from schemas.topics import Topic

MONEY, MACHINE, PLOT = "totals", "machine", "plot:"
_MONEY_SECONDS = 0.5
"""Least time between two frames of the totals, which cost the same whatever has changed."""
WATCHED: tuple[Topic, ...] = (
    topics.CONTROLS,
    topics.TICKS_BID_ASK,
    topics.PREDS,
    topics.SIGNALS,
    topics.EXECUTIONS,
    topics.TRADES,
    topics.ORDERS,
    topics.POSITIONS,
    topics.PNL,
    topics.ALERTS,
    topics.DEAD_LETTERS,
    topics.CHECKPOINTS,
)


class Message(Protocol):
    """A record as the reader hands it over."""

    topic: Callable[[], str]
    partition: Callable[[], int]
    offset: Callable[[], int]
    key: Callable[[], bytes | None]
    value: Callable[[], bytes | None]
    timestamp: Callable[[], tuple[int, int]]
    headers: Callable[[], list[tuple[str, bytes]] | None]


class Board:
    """The page's state. One thread applies records; others read under `lock`.

    Channels are what a page can ask for: every table by its name, `totals`, `machine`, and ``plot:SYMBOL``. A frame
    holds, as JSON, what changed of each channel but `machine`, which has a beat of its own; a snapshot holds a channel
    whole. Each is made once for all pages.
    """

    def __init__(self, prefix: str, window_seconds: float, decision_seconds: int, silent_seconds: float = 10.0) -> None:
        self.lock = threading.Lock()
        self._prefix = prefix
        self._window = window_seconds
        self._step = decision_seconds * 1_000_000_000
        self.machine = Machine(silent_seconds=silent_seconds)
        self.clear()

    def clear(self) -> None:
        """Forget all records, before they are read anew."""
        self.tables = {layout.name: Table(layout) for layout in tables.LAYOUTS}
        self._readers = {layout.name: tables.reader_of(layout) for layout in tables.LAYOUTS}
        self._readers.update(dict.fromkeys((tables.MONEY.name, tables.DEAD_LETTERS.name, tables.CONTROLS.name), tuple))
        self.controls = ControlDesk(self.tables[tables.CONTROLS.name], self._next_decision)
        self.money, self.curve = Money(), EquityCurve()
        self.histories: dict[str, History] = defaultdict(lambda: History(self._window))
        self.clock = 0
        self._sent: dict[str, tuple[int, int]] = {}
        self._money_due = 0.0
        self._handlers: dict[str, Callable[[Sequence[Message]], None]] = {
            self._prefix + topic.name: handler
            for topic, handler in (
                (topics.TICKS_BID_ASK, self._latest(topics.TICKS_BID_ASK, self.money.on_ticks)),
                (topics.PREDS, self._latest(topics.PREDS, self._on_preds)),
                (topics.ORDERS, self._latest(topics.ORDERS)),
                (topics.POSITIONS, self._latest(topics.POSITIONS, self.money.on_positions)),
                (topics.PNL, self._latest(topics.PNL, self._on_pnls)),
            )
        }
        self._handlers |= {
            self._prefix + topic.name: self._decoded(record, handler)
            for topic, record, handler in (
                (topics.SIGNALS, SignalSeen, self._on_signals),
                (topics.EXECUTIONS, records.Execution, self._on_executions),
                (topics.TRADES, records.Trade, self._on_trades),
            )
        }
        self._handlers |= {
            self._prefix + topic.name: self._each(handler)
            for topic, handler in (
                (topics.CONTROLS, self.controls.on_control),
                (topics.ALERTS, self._on_alert),
                (topics.DEAD_LETTERS, self._on_dead_letter),
                (topics.CHECKPOINTS, self.machine.on_checkpoint),
            )
        }

    # -- records in ----------------------------------------------------------------------------------------------

    def apply(self, messages: Iterable[Message]) -> None:
        """Take records, each partition's in order. The caller holds the lock."""
        by_topic: dict[str, list[Message]] = {}
        for topic, stretch in groupby(messages, methodcaller("topic")):
            by_topic.setdefault(topic, []).extend(stretch)
        for topic, group in by_topic.items():
            self._handlers[topic](group)

    def _each(self, handler: Callable[[Message], None]) -> Callable[[Sequence[Message]], None]:
        def all_of(messages: Sequence[Message]) -> None:
            for message in messages:
                try:
                    handler(message)
                except (ValueError, RecursionError) as error:
                    self.machine.note_unreadable(
                        f"{message.topic()} [{message.partition()}] {message.offset()}", str(error)
                    )

        return all_of

    def _decoding(self, record: type) -> Callable[[Sequence[Message]], tuple[Sequence[Message], list[Any]]]:
        """How to decode records of one topic: in one call, by themselves where one of them cannot be read."""
        many: Callable[[bytes], list[Any]] = msgspec.json.Decoder(list[record]).decode  # type: ignore[valid-type]
        one: Callable[[bytes], Any] = msgspec.json.Decoder(record).decode

        def read(messages: Sequence[Message]) -> tuple[Sequence[Message], list[Any]]:
            try:
                decoded = many(b"[%b]" % b",".join([message.value() or b"" for message in messages]))
                if len(decoded) == len(messages):
                    return messages, decoded
            except (ValueError, RecursionError):
                pass
            readable: list[Message] = []
            decoded = []

            def take(message: Message) -> None:
                decoded.append(one(message.value() or b""))
                readable.append(message)

            self._each(take)(messages)
            return readable, decoded

        return read

    def _decoded(
        self, record: type, handler: Callable[[Sequence[Message], Sequence[Any]], None]
    ) -> Callable[[Sequence[Message]], None]:
        read = self._decoding(record)
        return lambda messages: handler(*read(messages))

    def _latest(
        self, topic: Topic, also: Callable[[Sequence[Any]], None] | None = None
    ) -> Callable[[Sequence[Message]], None]:
        """How to take records of a table with one row a symbol, many at once: they are nearly all that comes."""
        assert topic.record is not None
        read, table = self._decoding(topic.record), self.tables[topic.name]

        def take(messages: Sequence[Message]) -> None:
            _, records = read(messages)
            table.put_all({record.symbol: record for record in records})
            if also is not None:
                also(records)

        def handler(messages: Sequence[Message]) -> None:
            if None not in [message.value() for message in messages]:  # nearly always
                take(messages)
                return
            for tombstones, group in groupby(messages, lambda message: message.value() is None):
                if not tombstones:
                    take(list(group))
                    continue
                for message in group:
                    table.drop((message.key() or b"").decode())

        return handler

    def _on_preds(self, preds: Sequence[records.Pred]) -> None:
        histories = self.histories
        for pred in preds:
            histories[pred.symbol].predictions.add(prediction_row(pred))
        self.clock = max([self.clock, *[pred.ts for pred in preds]])

    def _on_signals(self, _: Sequence[Message], signals: Sequence[SignalSeen]) -> None:
        for signal in signals:
            self.controls.on_signal(signal)

    def _on_executions(self, messages: Sequence[Message], executions: Sequence[records.Execution]) -> None:
        self.tables[topics.EXECUTIONS.name].put_all(dict(zip(map(_place, messages), executions, strict=True)))
        for message, execution in zip(messages, executions, strict=True):
            published_ms = message.timestamp()[1]
            self.histories[execution.symbol].executions.add(execution_row(execution))
            self.curve.on_execution(execution)
            self.controls.on_execution(execution, published_ms)
            self.machine.on_decision(execution.ts, published_ms)
        self.clock = max([self.clock, *[execution.ts for execution in executions]])

    def _on_trades(self, _: Sequence[Message], trades: Sequence[records.Trade]) -> None:
        self.tables[topics.TRADES.name].put_all({trade.id: trade for trade in trades})

    def _on_pnls(self, pnls: Sequence[records.Pnl]) -> None:
        for pnl in pnls:
            self.money.on_pnl(pnl)
            self.curve.on_pnl(pnl)

    def _on_alert(self, message: Message) -> None:
        self.tables[topics.ALERTS.name].put(_place(message), _alert(message.value() or b""))

    def _on_dead_letter(self, message: Message) -> None:
        headers = {name: value.decode(errors="replace") for name, value in message.headers() or ()}
        row: Row = (
            message.timestamp()[1] * 1_000_000,
            headers.get("mm_reason"),
            headers.get("mm_agent"),
            headers.get("mm_topic", "").removeprefix(self._prefix),
            _whole(headers.get("mm_partition")),
            _whole(headers.get("mm_offset")),
            _excerpt(message.key()),
            _excerpt(message.value()),
        )
        self.tables[topics.DEAD_LETTERS.name].put(_place(message), row)

    # -- frames and snapshots out --------------------------------------------------------------------------------

    def frame(self, wanted: Iterable[str], now: float = 0.0) -> dict[str, bytes]:
        """What changed of each wanted channel since the last frame; now: in seconds. The caller holds the lock."""
        wanted = set(wanted)
        if tables.MONEY.name in wanted:
            self._bring_money_up_to_date()
        frame: dict[str, bytes] = {}
        for name, table in self.tables.items():
            if name not in wanted:
                table.forget_changes()
                continue
            put, dropped = table.take_changes()
            if put or dropped:
                frame[name] = self._encode_rows(name, "put", put, dropped)
        for channel in (channel for channel in wanted if channel.startswith(PLOT)):
            fragment = self._plot_changes(channel)
            if fragment is not None:
                frame[channel] = fragment
        self._sent = {channel: at for channel, at in self._sent.items() if channel in wanted}
        if MONEY in wanted and now >= self._money_due:
            self._money_due = now + _MONEY_SECONDS
            frame[MONEY] = self._money()
        return frame

    def beat(self) -> dict[str, bytes]:
        """The state of the machine, which changes with time even if no record comes. The caller holds the lock."""
        return {MACHINE: self._machine()}

    def snapshot(self, channel: str) -> bytes:
        """One channel whole; null for one that does not exist. The caller holds the lock."""
        if channel == tables.MONEY.name:
            self._bring_money_up_to_date()
        if channel in self.tables:
            return self._encode_rows(channel, "all", self.tables[channel].items(), [])
        if channel == MONEY:
            return _json({"totals": self._totals(), "all": self.curve.points()})
        if channel == MACHINE:
            return self._machine()
        if channel.startswith(PLOT):
            self._note_sent(channel)
            return self.plot(channel.removeprefix(PLOT), 0, 0)
        return b"null"

    def plot(self, symbol: str, predictions: int, executions: int, kind: str = "all") -> bytes:
        """A symbol's rows from two row numbers on, as columns, with the numbers of the rows that come next."""
        history = self.histories.get(symbol) or History(self._window)
        lists = history.predictions.since(predictions), history.executions.since(executions)
        firsts = max(predictions, history.predictions.first), max(executions, history.executions.first)
        return encode_plot(kind, lists, firsts, (history.predictions.next, history.executions.next))

    def _note_sent(self, channel: str) -> None:
        """From now on frames of this channel hold what follows; a page leaves out what it has already."""
        history = self.histories.get(channel.removeprefix(PLOT))
        ends = (history.predictions.next, history.executions.next) if history else (0, 0)
        self._sent.setdefault(channel, ends)

    def _plot_changes(self, channel: str) -> bytes | None:
        symbol = channel.removeprefix(PLOT)
        history = self.histories.get(symbol)
        if history is None:
            return None
        ends = history.predictions.next, history.executions.next
        sent = self._sent.get(channel, ends)
        self._sent[channel] = ends
        return self.plot(symbol, *sent, kind="put") if sent != ends else None

    def _encode_rows(self, name: str, kind: str, rows: Iterable[tuple[str, Any]], dropped: list[str]) -> bytes:
        read = self._readers[name]
        message: dict[str, Any] = {kind: [(row_id, *read(row)) for row_id, row in rows]}
        if dropped:
            message["drop"] = dropped
        return _json(message)

    def _bring_money_up_to_date(self) -> None:
        self.tables[tables.MONEY.name].put_all(self.money.take_changes())

    def _money(self) -> bytes:
        return _json({"totals": self._totals(), "put": self.curve.take_changes()})

    def _machine(self) -> bytes:
        state = self.machine.state()
        everyone = self.controls.everyone
        if everyone is not None and everyone != "ACTIVE":
            text = f"Every symbol is {everyone}, whatever its own control says, until you resume all."
            state["banners"].append(vars(Banner("warn", text)))
        return _json(state)

    def _next_decision(self, effective_from: int | None = None) -> int | None:
        """The next decision time, or the first at or after a later one; None while no event time is known."""
        if not self.clock:
            return None
        return max(self.clock // self._step + 1, -(-(effective_from or 0) // self._step)) * self._step

    def _totals(self) -> Mapping[str, Any]:
        return {
            **self.money.totals(),
            "everyone": self.controls.everyone,
            "before": self.curve.before(),
            "forgotten": self.curve.forgotten(),
            "clock": self.clock,
            "next": self._next_decision(),
            "step": self._step,
        }


def encode_plot(
    kind: str, columns: tuple[list[list[float]], list[list[float]]], first: tuple[int, int], then: tuple[int, int]
) -> bytes:
    """Rows of a plot as the page takes them: number of the first row and of the next one, and the columns."""
    names = ("predictions", "executions")
    parts = {name: {"first": first[i], "next": then[i], "columns": columns[i]} for i, name in enumerate(names)}
    return _json({kind: parts})


class _ControlSeen(msgspec.Struct):
    version: int
    star_version: int | None


class SignalSeen(msgspec.Struct):
    """What of a signal tells which control was in force."""

    symbol: str
    ts: int
    control: _ControlSeen | None


_alert = msgspec.json.Decoder(records.Alert).decode
_EXCERPT_BYTES = 200


def _json(value: Any) -> bytes:
    return orjson.dumps(value)


def _place(message: Message) -> str:
    return f"{message.partition()}-{message.offset()}"


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.lstrip("-").isdigit() else None


def _excerpt(value: bytes | None) -> str | None:
    return None if value is None else value[:_EXCERPT_BYTES].decode(errors="replace")
