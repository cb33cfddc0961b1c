"""The rules of the strategy written for reading: the oracle for the kernels of ``agents.strategy``.

Standard library only, one row at a time, nothing shared with the code it checks. One ``Reference`` is one
partition: all its symbols, its clock, and what the signals, execution and portfolio agents would publish for
them. Records are plain dicts with the fields of the published ones, less what only a wire needs (``time``,
``settings``); an unknown number is ``nan``. Times are int ns since the epoch.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.strategy.reference_controls import ControlBook
from tests.strategy.reference_desk import Desk
from tests.strategy.reference_settings import SECOND, Record, ReferenceSettings, nanoseconds

DAY = 86_400 * SECOND
EARLIEST_TS = 315_532_800 * SECOND  # 1980-01-01: anything earlier is not a count of nanoseconds
LATEST_TS = 5_680_281_600 * SECOND  # 2150-01-01
LARGEST_PRICE = 1e12


def reference_exp(x: float) -> float:
    """Exp of the machine's libm; the kernels carry their own, an ulp apart: inject it to compare bits."""
    return math.exp(x)


@dataclass(frozen=True)
class Quote:
    """A usable quote of one symbol."""

    ts: int
    bid: float
    bid_size: float
    ask: float
    ask_size: float

    @property
    def mid(self) -> float:
        """The price that the moments average."""
        return (self.bid + self.ask) * 0.5

    def row(self) -> Record:
        """What is published of the quote, less its ts."""
        sides = {"bid": self.bid, "bid_size": self.bid_size, "ask": self.ask, "ask_size": self.ask_size}
        return sides | {"mid": self.mid}


@dataclass
class Moments:
    """Exponential moving average and variance of one symbol's mid over irregular times (Finch 2009)."""

    settings: ReferenceSettings
    exp: Callable[[float], float]
    ts: int | None = None
    warm_start: int = 0
    ema: float = math.nan
    var: float = 0.0
    sd: float = math.nan

    def update(self, ts: int, x: float) -> None:
        """Take the mid ``x`` at ``ts``, which is not before the last one."""
        if self.ts is None:
            self.ts, self.warm_start, self.ema = ts, ts, x
            return
        dt, tau = ts - self.ts, nanoseconds(self.settings.tau_seconds)
        gap_taus = self.settings.gap_taus
        if gap_taus is not None and dt > nanoseconds(gap_taus * self.settings.tau_seconds):
            self.warm_start = ts
        if dt > 0:
            a = self.exp(-(float(dt) / float(tau)))
            d = x - self.ema
            self.var = a * (self.var + (1.0 - a) * (d * d))
            self.ema = a * self.ema + (1.0 - a) * x
        self.sd = math.sqrt(self.var)
        self.ts = ts

    @property
    def warm(self) -> bool:
        """Whether the last row is more than the warm-up after the first, or after the first behind a gap."""
        return self.ts is not None and self.ts > self.warm_start + nanoseconds(self.settings.warmup_seconds)

    def row(self) -> Record:
        """What is published of the moments."""
        band = self.settings.band_sd * self.sd
        return {"ema": self.ema, "sd": self.sd, "buy_below": self.ema - band, "sell_above": self.ema + band}


class PartitionClock:
    """The promise of all feeds of a partition that no smaller ts follows; it never goes back."""

    def __init__(self) -> None:
        self.now = 0
        self.last: dict[str, int] = {}
        self.open: set[str] = set()

    def goes_back(self, ts: int, feed: str) -> bool:
        """Whether an open feed contradicts its own last clock."""
        return feed in self.open and ts < self.last[feed]

    def advance(self, ts: int, feed: str, end: bool) -> bool:
        """Take a clock record; True when it ended the last open feed."""
        self.last[feed] = ts
        self.open.add(feed)
        if end:
            self.open.remove(feed)
        promised = min(self.last[name] for name in self.open) if self.open else max(self.last.values())
        self.now = max(self.now, promised)
        return not self.open


@dataclass
class SymbolState:
    """What the signals agent keeps of one symbol that has had a usable quote."""

    quote: Quote
    moments: Moments
    next_decision: int
    mark_due: int | None = None  # the mark that the last quote is waiting for
    last_control: tuple[int | None, Record] | None = None  # its own in force at the last decision that fired


class Reference:
    """One desk: quotes, clocks and controls of one partition in, all that is published out."""

    def __init__(
        self,
        settings: ReferenceSettings,
        exp: Callable[[float], float] = reference_exp,
        sessions: Sequence[tuple[int, int]] = (),
    ) -> None:
        """``sessions``: (open, close) in ns, used when ``settings.session`` names a calendar."""
        self.settings, self.exp, self.sessions = settings, exp, sessions
        self.decision_step = settings.decision_seconds * SECOND
        self.mark_step = settings.mark_seconds * SECOND
        self.controls, self.partition_clock = ControlBook(), PartitionClock()
        self.symbols: dict[str, SymbolState] = {}
        self.marks: list[Record] = []
        self.signals: list[Record] = []
        self.desk = Desk(settings)
        self.executions, self.trades = self.desk.executions, self.desk.trades
        self.positions, self.pnl = self.desk.positions, self.desk.pnl
        self.counts: Counter[str] = Counter()

    def control(self, symbol: str, version: int, record: Record | None) -> None:
        """Read a valid record of the controls topic; ``None`` is a tombstone."""
        self.controls.read(symbol, version, record)

    def quote(
        self,
        symbol: str,
        ts: int,
        bid: float,
        bid_size: float,
        ask: float,
        ask_size: float,
        kafka_ts_ns: int | None = None,
    ) -> None:
        """Take a row: it fires what was due for its symbol up to its ts, then is applied."""
        quote = Quote(ts, bid, bid_size, ask, ask_size)
        unusable = self._unusable(symbol, quote, kafka_ts_ns)
        self.counts[unusable or "used"] += 1
        if unusable:
            return
        self.counts["crossed"] += bid > ask
        self._fire(symbol, ts)
        self._apply(symbol, quote)

    def clock(self, ts: int, feed: str = "", end: bool = False, kafka_ts_ns: int | None = None) -> None:
        """Take a clock record: it fires what is due for every symbol up to the partition's clock."""
        unusable = self._implausible(ts, kafka_ts_ns)
        if unusable is None and self.partition_clock.goes_back(ts, feed):
            unusable = "clock_back"
        self.counts[unusable or "clock"] += 1
        if unusable:
            return
        ended = self.partition_clock.advance(ts, feed, end)
        for symbol in self.symbols:
            self._fire(symbol, self.partition_clock.now)
            if ended:
                self._end(symbol, self.partition_clock.now)

    def _implausible(self, ts: int, kafka_ts_ns: int | None) -> str | None:
        if not EARLIEST_TS <= ts <= LATEST_TS:
            return "bad_ts"
        if kafka_ts_ns is not None and ts > kafka_ts_ns + nanoseconds(self.settings.future_seconds):
            return "future"
        return None

    def _unusable(self, symbol: str, quote: Quote, kafka_ts_ns: int | None) -> str | None:
        """Why the row cannot be used: the first reason that applies, or None."""
        implausible = self._implausible(quote.ts, kafka_ts_ns)
        if implausible:
            return implausible
        if not all(map(math.isfinite, (quote.bid, quote.ask, quote.bid_size, quote.ask_size))):
            return "not_finite"
        if not (0 < quote.bid <= LARGEST_PRICE and 0 < quote.ask <= LARGEST_PRICE):
            return "bad_price"
        if quote.bid_size <= 0 or quote.ask_size <= 0:
            return "bad_size"
        known = self.symbols.get(symbol)
        if quote.ts < self.partition_clock.now or (known is not None and quote.ts < known.quote.ts):
            return "late"
        return None

    def _apply(self, symbol: str, quote: Quote) -> None:
        state = self.symbols.get(symbol)
        if state is None:
            first_decision = (quote.ts // self.decision_step + 1) * self.decision_step
            state = SymbolState(quote, Moments(self.settings, self.exp), first_decision)
            self.symbols[symbol] = state
        state.quote = quote
        state.moments.update(quote.ts, quote.mid)
        if self.settings.marks == "every":
            self._publish_mark(symbol, quote.ts)
        elif self.settings.marks == "grid":
            state.mark_due = (quote.ts // self.mark_step + 1) * self.mark_step

    def _fire(self, symbol: str, upto: int) -> None:
        """Fire the symbol's mark and decision times up to and including ``upto``, in order, each once."""
        state = self.symbols.get(symbol)
        if state is None:
            return
        if state.mark_due is not None and state.mark_due <= upto:
            self._publish_mark(symbol, state.mark_due)
            state.mark_due = None
        newest = min(upto, state.quote.ts + DAY)
        for decision in range(state.next_decision, newest + 1, self.decision_step):
            self._decide(symbol, decision)
        state.next_decision = max(state.next_decision, (upto // self.decision_step + 1) * self.decision_step)

    def _decide(self, symbol: str, decision: int) -> None:
        """Publish the row of a decision time, if there is one."""
        state = self.symbols[symbol]
        version, own = self.controls.newest(symbol, decision)
        before, state.last_control = state.last_control, (version, own) if own is not None else None
        if own is None:
            if before is not None:
                removed = self.controls.whole(*before, decision)
                self._publish_signal(symbol, decision, removed, "HOLD", "REMOVED")
            return
        control = self.controls.whole(version, own, decision)
        stale = self._stale(state.quote, decision)
        first_stale = stale and not self._stale(state.quote, decision - self.decision_step)
        flatten = control["state"] == "CLOSING" or self._session(decision) == "CLOSING"
        if stale and not first_stale and not flatten:
            return
        self._publish_signal(symbol, decision, control, *self._verdict(state, stale))

    def _verdict(self, state: SymbolState, stale: bool) -> tuple[str, str | None]:
        """Verdict and reason on the last quote."""
        if stale:
            return "HOLD", "STALE"
        if not state.moments.warm:
            return "HOLD", "WARMUP"
        band = state.moments.row()
        if state.quote.ask < band["buy_below"]:
            return "BUY", None
        return ("SELL" if state.quote.bid > band["sell_above"] else "HOLD"), None

    def _stale(self, quote: Quote, decision: int) -> bool:
        limit = self.settings.max_quote_age_seconds
        return limit is not None and decision - quote.ts > nanoseconds(limit)

    def _session(self, ts: int) -> str | None:
        """OPEN, CLOSING or CLOSED; None without a calendar."""
        if self.settings.session is None:
            return None
        for opens, closes in self.sessions:
            if opens <= ts < closes:
                return "OPEN" if ts < closes - nanoseconds(60 * self.settings.close_minutes) else "CLOSING"
        return "CLOSED"

    def _end(self, symbol: str, ts: int) -> None:
        """The last mark and signal of a symbol when the last feed has ended, never before its last quote."""
        state = self.symbols[symbol]
        ts = max(ts, state.quote.ts)
        if state.mark_due is not None:
            self._publish_mark(symbol, ts)
            state.mark_due = None
        control = self.controls.in_force(symbol, ts)
        if control is not None:
            self._publish_signal(symbol, ts, control, "HOLD", "END")

    def _publish_mark(self, symbol: str, mark: int) -> None:
        """The last quote and moments at the mark time, for symbols of the universe."""
        if self.controls.in_force(symbol, mark) is None:
            return
        state = self.symbols[symbol]
        self.marks.append(
            {"symbol": symbol, "ts": state.quote.ts}
            | state.quote.row()
            | state.moments.row()
            | {"warm": state.moments.warm}
        )

    def _publish_signal(self, symbol: str, ts: int, control: Record, verdict: str, reason: str | None) -> None:
        quote, band = self.symbols[symbol].quote, self.symbols[symbol].moments.row()
        signal = {
            "symbol": symbol,
            "ts": ts,
            "quote_ts": quote.ts,
            **quote.row(),
            **band,
            "buy": quote.ask < band["buy_below"],
            "sell": quote.bid > band["sell_above"],
            "verdict": verdict,
            "reason": reason,
            "session": self._session(ts),
            "control": control,
        }
        self.signals.append(signal)
        self.desk.execute(signal)
