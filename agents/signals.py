"""quotes, controls -> ticks_bid_ask, preds, signals: the agent that sees every quote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from agents.controls.log import ControlLog
from agents.strategy import codes, grid
from agents.strategy.controls import Schedule
from agents.strategy.desk import Desk
from agents.strategy.session import SESSION_CLOSING, calendar_of
from agents.strategy.settings import Settings
from agents.strategy.stored import Block, Progress, feed_states, restore_feeds
from agents.stream.agent import Context, Outputs
from agents.stream.batch import Batch
from schemas.decoding import QuoteDecoder
from schemas.events import CONTENT_TYPE_ONLY, decision_id, headers
from schemas.partitioning import partition_of
from schemas.records import EVERY_SYMBOL, ControlInForce, Pred, Signal, SignalReason, State, TickBidAsk, Verdict
from schemas.times import NS, rfc3339
from schemas.topics import CONTROLS, MOMENTS, PREDS, QUOTES, SIGNALS, TICKS_BID_ASK

_encode = msgspec.json.Encoder().encode


class SignalsAgent:
    """The role: one task a partition, all of them with the same controls."""

    role = "signals"
    source = QUOTES
    table = MOMENTS
    state_version = 1
    outputs = (TICKS_BID_ASK, PREDS, SIGNALS, CONTROLS)

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.calendar = calendar_of(settings)

    def start(self, context: Context) -> None:
        """Read the controls whole, before the first quote is taken."""
        self.controls = ControlLog(context.follow(CONTROLS), context.beat)

    def task(self, partition: int, partitions: int) -> SignalsTask:
        """The symbols of one partition of quotes."""
        return SignalsTask(self, partition, partitions)

    def close(self) -> None:
        """Nothing to close: the runner closes what it lent."""


class SignalsTask:
    """The state of one partition: moments and last quote of every symbol, clocks of the feeds."""

    def __init__(self, agent: SignalsAgent, partition: int, partitions: int) -> None:
        self._settings_hash = agent.settings.hash
        self._controls = agent.controls
        self._partition = partition
        self._accepts: Callable[[str], bool] = lambda symbol: partition_of(symbol, partitions) == partition
        self._desk = Desk(agent.settings, agent.calendar)
        self._decoder = QuoteDecoder(self._accepts, round(agent.settings.future_seconds * NS))
        self._controls_seen = 0  # entries of the control log whose symbols have been brought up to date
        self._controls_position = 0
        self._decided_until = 0

    # -- state ---------------------------------------------------------------------------------------------------

    def load(self, table: Mapping[bytes, bytes], progress: Any, counters: Mapping[str, int]) -> None:
        """Take up the stored state."""
        # Whoever wrote it may have known newer controls than this process, which may have had no quotes for long.
        self._controls.catch_up()
        index, desk, book = self._decoder.index, self._desk, self._controls.book
        schedules: dict[str, Schedule] = {}
        for key in sorted(table, key=int):
            block = msgspec.msgpack.decode(table[key], type=Block)
            first = len(index)
            for symbol in block.symbols:
                index.add(symbol)
            desk.grow(len(index))
            desk.rows[first : len(index)] = np.frombuffer(block.rows, grid.ROW)
            schedules |= block.schedules
        desk.touched[:] = False
        # Also what the book knows and the table does not: it may have moved on in a transaction that was aborted.
        for symbol in sorted({*schedules, *filter(self._accepts, book.symbols)}):
            book.merge(symbol, schedules.get(symbol, Schedule()))
        desk.counts[:] = [counters.get(name, 0) for name in grid.COUNTERS]
        if progress is not None:
            stored = msgspec.convert(progress, Progress)
            desk.clock = stored.clock
            restore_feeds(stored.feeds, desk, self._decoder)
            book.merge_star(stored.star)
            self._controls_position = stored.controls_position
        self._controls.note_removed(index.symbols)
        for symbol in list(book.schedules):
            self._refresh(symbol)
        self._controls_seen = len(self._controls.changes)

    def changed_rows(self) -> Iterable[tuple[bytes, bytes, None]]:
        """The blocks of symbols that have changed."""
        desk, symbols, schedules = self._desk, self._decoder.index.symbols, self._controls.book.schedules
        for block in np.flatnonzero(desk.touched).tolist():
            members = slice(block * grid.BLOCK, min((block + 1) * grid.BLOCK, len(symbols)))
            names = symbols[members]
            controlled = {symbol: schedules[symbol] for symbol in names if symbol in schedules}
            row = Block(names, desk.rows[members].tobytes(), controlled)
            yield b"%d" % block, msgspec.msgpack.encode(row), None
        desk.touched[:] = False

    def progress(self) -> Progress:
        """Clocks, and what holds for every symbol."""
        desk = self._desk
        # All partitions share the book: what this one needs no longer, one that is behind may still need.
        star = self._controls.book.star_since(desk.clock)
        return Progress(desk.clock, feed_states(desk, self._decoder.feeds), star, self._controls_position)

    def counters(self) -> dict[str, int]:
        """Rows by what became of them."""
        return dict(zip(grid.COUNTERS, self._desk.counts.tolist(), strict=True))

    # -- work ----------------------------------------------------------------------------------------------------

    def process(self, batch: Batch, out: Outputs) -> None:
        """Apply the quotes and clocks of one batch; publish the marks and decisions that they fire."""
        for reject in self._decoder.decode(batch):
            out.dead_letter(batch, *reject)
        self._keep_up_with_controls(out)
        self._desk.grow(len(self._decoder.index))
        for events in self._desk.advance(self._decoder.columns, len(self._decoder.feeds)):
            marks = events["kind"] == grid.MARK
            # Marks first: nobody sees their order among the decisions, and these move on to newer controls.
            self._publish_marks(events[marks], out)
            for event in events[~marks].tolist():
                self._publish(event, out)

    def _keep_up_with_controls(self, out: Outputs) -> None:
        """Know every control that was published before the clock reached a decision time of this batch."""
        newest = self._decoder.columns.newest_ts() // self._desk.settings.decision_seconds // NS
        if newest > self._decided_until:
            self._decided_until = newest
            self._controls.catch_up()
        else:
            self._controls.poll()
        for symbol in self._controls.changes[self._controls_seen :]:
            self._refresh(symbol)
        self._controls_seen = len(self._controls.changes)
        if self._partition == 0:
            for batch, reason in self._controls.invalid_since(self._controls_position):
                out.dead_letter(batch, 0, reason)
            self._controls_position = self._controls.position

    def _refresh(self, symbol: str) -> None:
        """Bring a symbol's place in the table, and how closely it is watched, in line with its controls."""
        index, desk, book = self._decoder.index, self._desk, self._controls.book
        if symbol == EVERY_SYMBOL:
            for number, name in enumerate(index.symbols):
                desk.interest[number] = book.interest(name)
        elif self._accepts(symbol):
            number = index.add(symbol)
            desk.grow(len(index))
            desk.interest[number] = book.interest(symbol)
            desk.touched[number // grid.BLOCK] = True

    def _publish(self, event: tuple[Any, ...], out: Outputs) -> None:
        symbol = self._decoder.index.symbols[event[_NUMBER]]
        if event[_KIND] == grid.END:
            control = self._controls.book.peek(symbol, event[_TS])
            if control is not None:
                self._publish_signal(symbol, event, control, SignalReason.END, out)
        else:
            self._decide(symbol, event, out)

    def _decide(self, symbol: str, event: tuple[Any, ...], out: Outputs) -> None:
        number = event[_NUMBER]
        control, removed = self._controls.book.resolve(symbol, event[_TS])
        if self._desk.interest[number] == grid.WATCHED:
            self._desk.interest[number] = self._controls.book.interest(symbol)
        if control is None:
            return
        closing = control.state is State.CLOSING or event[_SESSION] == SESSION_CLOSING
        if removed:
            self._publish_signal(symbol, event, control, SignalReason.REMOVED, out)
        elif event[_AGE] != grid.STILL_STALE or closing:
            self._publish_signal(symbol, event, control, codes.SIGNAL_REASONS[event[_REASON]], out)

    def _publish_signal(
        self, symbol: str, event: tuple[Any, ...], control: ControlInForce, reason: SignalReason | None, out: Outputs
    ) -> None:
        (ts, quote_ts, bid, bid_size, ask, ask_size, mid, ema, sd, buy_below, sell_above, *_rest) = event
        time = rfc3339(ts)
        signal = Signal(
            symbol=symbol,
            ts=ts,
            time=time,
            quote_ts=quote_ts,
            bid=bid,
            bid_size=bid_size,
            ask=ask,
            ask_size=ask_size,
            mid=mid,
            ema=ema,
            sd=sd,
            buy_below=buy_below,
            sell_above=sell_above,
            buy=event[_BUY],
            sell=event[_SELL],
            verdict=Verdict.HOLD if reason is SignalReason.REMOVED else codes.VERDICTS[event[_VERDICT]],
            reason=reason,
            session=codes.SESSIONS[event[_SESSION]],
            control=control,
            settings=self._settings_hash,
        )
        event_id = decision_id(symbol, ts, reason)
        out.send(SIGNALS, symbol, _encode(signal), headers("signal", SignalsAgent.role, event_id, time))

    def _publish_marks(self, marks: np.ndarray, out: Outputs) -> None:
        symbols, listed = self._decoder.index.symbols, self._controls.book.listed
        watched = (self._desk.interest[marks["number"]] == grid.WATCHED).tolist()
        ticks, preds = [], []
        for asks, mark in zip(watched, marks.tolist(), strict=True):
            ts, quote_ts, bid, bid_size, ask, ask_size, mid, ema, sd, buy_below, sell_above, number, *_ = mark
            symbol = symbols[number]
            if asks and not listed(symbol, ts):
                continue
            key = symbol.encode()
            ticks.append((key, _encode(TickBidAsk(symbol, quote_ts, bid, bid_size, ask, ask_size))))
            pred = Pred(symbol, quote_ts, bid, ask, mid, ema, sd, buy_below, sell_above, mark[_WARM])
            preds.append((key, _encode(pred)))
        out.send_many(TICKS_BID_ASK, ticks, CONTENT_TYPE_ONLY)
        out.send_many(PREDS, preds, CONTENT_TYPE_ONLY)


_TS, _NUMBER, _KIND, _VERDICT, _REASON, _SESSION, _AGE, _WARM, _BUY, _SELL = (
    list(grid.EVENT.fields or {}).index(name)
    for name in ("ts", "number", "kind", "verdict", "reason", "session", "age", "warm", "buy", "sell")
)
