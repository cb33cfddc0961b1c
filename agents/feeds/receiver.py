"""One exchange's websocket, kept open: connects, subscribes, reads, and connects again when it is lost."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from agents.feeds.attempts import Attempts, Backoff
from agents.feeds.exchanges.exchange import Event, Exchange, Gap, Garbage, OutOfOrder, Refused, Tick, Trouble
from agents.feeds.exchanges.fields import shown
from agents.feeds.inbox import Inbox
from agents.stream.errors import BadConfiguration

log = logging.getLogger(__name__)
# Its own lines tell of every handshake; what matters is told here.
_unheeded = logging.getLogger(f"{__name__}.websockets")
_unheeded.setLevel(logging.CRITICAL)

_TICK_SECONDS = 0.1  # a stop is noticed within it
_FULL_SECONDS = 0.02
_CLOSE_SECONDS = 0.2
_JOIN_SECONDS = 0.5
_PATIENT_TRIES = 5
_MOST_MISSED = 20
_LONGEST_RETRY_AFTER = 900.0
_CONNECTION: dict[str, Any] = {
    "open_timeout": 10.0,
    "close_timeout": _CLOSE_SECONDS,
    "ping_interval": 20.0,
    "ping_timeout": 20.0,
    "logger": _unheeded,
}


@dataclass
class Counts:
    """What came: messages, quotes, and what was wrong. reconnects: connections after the first that gave a quote."""

    messages: int = 0
    quotes: int = 0
    garbage: int = 0
    gaps: int = 0
    out_of_order: int = 0
    stalls: int = 0
    attempts: int = 0
    reconnects: int = 0


@dataclass(frozen=True)
class Patience:
    """stall_seconds: without any message, then the connection is given up; silent_seconds: without a quote of a symbol
    that a connection was asked for, then it is told.
    """

    stall_seconds: float
    silent_seconds: float
    backoff: Backoff


class _Dropped(Exception):
    """The connection is to be given up; the text says why."""


class Receiver:
    """Puts an exchange's quotes into an inbox, in a thread of its own, from `start` to `close`.

    failure: what ended the thread, BadConfiguration where the exchange refuses a symbol; else it only ends by `close`.
    trouble: why there is no connection, or was none last; None where nothing ever went wrong.
    """

    def __init__(self, exchange: Exchange, url: str, symbols: Sequence[str], patience: Patience, inbox: Inbox) -> None:
        self.counts = Counts()
        self.failure: Exception | None = None
        self.trouble: str | None = None
        self._exchange = exchange
        self._url = url
        self._patience = patience
        self._inbox = inbox
        self._pairs = {exchange.pair(symbol): symbol for symbol in symbols}
        self._reader = exchange.reader(self._pairs)
        self._attempts = Attempts(exchange.limits.attempts, exchange.limits.attempt_seconds)
        self._heard: set[str] = set()
        self._awaited: set[str] = set()  # on this connection
        self._told: set[str] = set()
        self._missed: Counter[str] = Counter()  # gaps and quotes out of order since the last quote of a symbol
        self._failures = 0  # since the last quote
        self._short_lived = 0  # attempts in a row
        self._lost_at = 0.0
        self._retry_after = 0.0
        self._stop = threading.Event()
        # A daemon: looking up a host's name cannot be interrupted, and must not hold up the end of the process.
        self._thread = threading.Thread(target=self._run, name=f"{exchange.name}-websocket", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End, within half a second; whatever has not come by then is not waited for."""
        self._stop.set()
        self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._wait()
                if not self._stop.is_set():
                    self._attempt()
        except Exception as error:
            self.failure = error

    def _wait(self) -> None:
        """Until another attempt is due."""
        due = self._patience.backoff.seconds(self._short_lived) if self._short_lived else 0.0
        seconds = max(due, self._retry_after, self._attempts.wait(time.monotonic()))
        self._retry_after = 0.0
        self._stop.wait(seconds)

    def _attempt(self) -> None:
        began = time.monotonic()
        self._attempts.note(began)
        self.counts.attempts += 1
        try:
            with connect(self._url, **_CONNECTION) as connection:
                self._receive(connection)
        except (_Dropped, OSError, WebSocketException) as error:
            if not self._stop.is_set():
                # By its quotes alone, a server that sends one and hangs up would be asked twice a second for ever.
                held = time.monotonic() - began >= self._patience.backoff.longest
                self._short_lived = 1 if held else self._short_lived + 1
                self._note_failure(error)

    def _receive(self, connection: ClientConnection) -> None:
        self._reader.connected()
        self._awaited = set(self._pairs.values())
        self._missed.clear()
        requests = deque(self._exchange.requests(list(self._pairs)))
        last, asked = time.monotonic(), -math.inf
        while not self._stop.is_set():
            now = time.monotonic()
            if requests and now - asked >= self._exchange.limits.message_seconds:
                connection.send(requests.popleft(), text=True)
                asked = time.monotonic()
            if not requests and now - asked > self._patience.silent_seconds:
                self._tell_silent()
            while self._inbox.full and not self._stop.wait(_FULL_SECONDS):
                last = time.monotonic()
            try:
                message = connection.recv(timeout=_TICK_SECONDS, decode=False)
            except TimeoutError:
                self._check_stall(now - last)
            else:
                last = time.monotonic()
                self._take(message if isinstance(message, bytes) else message.encode())

    def _check_stall(self, since_message: float) -> None:
        if since_message > self._patience.stall_seconds:
            self.counts.stalls += 1
            raise _Dropped(f"nothing came for {self._patience.stall_seconds:g} s")

    def _tell_silent(self) -> None:
        """Once for each silence of a symbol, not for each connection within it."""
        silent = self._awaited - self._told
        if silent:
            self._told |= silent
            name, symbols = self._exchange.name, ", ".join(sorted(silent))
            log.warning("%s: no quote of %s yet on this connection: is it traded there, by that name?", name, symbols)

    def _take(self, message: bytes) -> None:
        self.counts.messages += 1
        try:
            for event in self._reader.read(message):
                self._heed(event)
        except Garbage as error:
            self.counts.garbage += 1
            self._tell(self.counts.garbage, "messages left out", f"{error}: {shown(message)}")

    def _heed(self, event: Event) -> None:
        if isinstance(event, Tick):
            self._quote(event)
        elif isinstance(event, Gap):
            self.counts.gaps += 1
            self._tell(self.counts.gaps, "gaps", f"{event.symbol}: {event.missed}")
            self._miss(event.symbol)
        elif isinstance(event, OutOfOrder):
            self.counts.out_of_order += 1
            self._tell(self.counts.out_of_order, "quotes out of order", event.symbol)
            self._miss(event.symbol)
        elif isinstance(event, Refused):
            self._refused(event)
        elif isinstance(event, Trouble):
            raise _Dropped(f"it says: {event.text}")

    def _quote(self, tick: Tick) -> None:
        self._inbox.put(tick)
        self.counts.quotes += 1
        for symbols in (self._awaited, self._told):
            symbols.discard(tick.symbol)
        self._heard.add(tick.symbol)
        self._missed.pop(tick.symbol, None)
        if self._failures:
            self._note_recovery()

    def _miss(self, symbol: str) -> None:
        """Numbers that begin anew, or a subscription that has died behind its heartbeats, heal by a reconnect only."""
        self._missed[symbol] += 1
        if self._missed[symbol] == _MOST_MISSED:
            raise _Dropped(f"{_MOST_MISSED} quotes of {symbol} in a row were missing or out of order")

    def _refused(self, refused: Refused) -> None:
        """What never worked is the user's mistake; what worked before is the exchange's change of mind."""
        heard = refused.symbol in self._heard if refused.symbol else bool(self._heard)
        if not heard:
            raise BadConfiguration(f"{self._exchange.name} refuses the subscription: {refused.text}")
        if refused.symbol is None:
            raise _Dropped(f"it refuses what it served before: {refused.text}")
        self._awaited.discard(refused.symbol)
        log.warning("%s: no longer serves %s: %s", self._exchange.name, refused.symbol, refused.text)

    def _note_failure(self, error: Exception) -> None:
        self._failures += 1
        name, why = self._exchange.name, _why(error)
        self.trouble = why
        self._retry_after = _retry_after(error)
        if self._failures == 1:
            self._lost_at = time.monotonic()
            log.warning("%s: no connection to %s: %s; trying again", name, self._url, why)
        elif self._failures == _PATIENT_TRIES:
            longest = self._patience.backoff.longest
            log.warning(
                "%s: still no quotes after %d tries, the last: %s; it goes on trying, every %g s at the latest",
                *(name, self._failures, why, longest),
            )
        else:
            log.debug("%s: try %d: %s", name, self._failures, why)

    def _note_recovery(self) -> None:
        away = time.monotonic() - self._lost_at
        log.info("%s: quotes again after %.1f s", self._exchange.name, away)
        if self.counts.quotes > 1:
            self.counts.reconnects += 1
        self._failures = 0

    def _tell(self, count: int, what: str, text: str) -> None:
        """The first, the tenth, the hundredth, …: a line each would drown the log."""
        level = logging.WARNING if str(count).rstrip("0") == "1" else logging.DEBUG
        log.log(level, "%s: %s (%s so far: %d)", self._exchange.name, text, what, count)


def _why(error: Exception) -> str:
    if isinstance(error, InvalidStatus):
        return f"it answers with status {error.response.status_code}"
    return str(error) or type(error).__name__


def _retry_after(error: Exception) -> float:
    """Seconds that the server asks to wait, where it says so in seconds."""
    if not isinstance(error, InvalidStatus):
        return 0.0
    text = error.response.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_RETRY_AFTER) if text.isascii() and text.isdigit() else 0.0
