"""An exchange's live quotes onto ``quotes``, stamped as they come."""

from __future__ import annotations

import dataclasses
import math
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from agents.feeds.attempts import Backoff
from agents.feeds.exchanges import EXCHANGES
from agents.feeds.exchanges.exchange import Exchange, Tick
from agents.feeds.held import latest_ts
from agents.feeds.inbox import Inbox
from agents.feeds.quotes import Quotes, sorted_quotes
from agents.feeds.receiver import Counts, Patience, Receiver
from agents.feeds.session import OnProgress, Session, Summary
from agents.feeds.wire import Wire
from agents.stream.config import KafkaConfig
from agents.stream.errors import BadConfiguration, StreamError

_SYMBOL = re.compile(r"[A-Za-z0-9.]{1,15}[-/][A-Za-z0-9.]{1,15}")


@dataclass(frozen=True)
class LiveSettings:
    """Which quotes, and from where.

    source: a name in `EXCHANGES`. symbols: BASE-QUOTE (BASE/QUOTE is the same); `names` has them as they are
    published. url: another server that speaks as the exchange does. feed: in clock records; None: the source.
    seconds: of wall time, None: until stopped. stall_seconds: without any message, then the connection is given up;
    None: what suits the exchange. silent_seconds: without a first quote of a symbol, then it is told.
    Raises BadConfiguration.
    """

    source: str
    symbols: Sequence[str]
    url: str | None = None
    feed: str | None = None
    seconds: float | None = None
    stall_seconds: float | None = None
    silent_seconds: float = 30.0
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        if self.source not in EXCHANGES:
            raise BadConfiguration(f"--source {self.source}: give {', '.join(sorted(EXCHANGES))}")
        if not self.names:
            raise BadConfiguration("no symbols: give some, as BTC-USD")
        if len(self.names) > self.exchange.limits.symbols:
            raise BadConfiguration(
                f"{len(self.names)} symbols: {self.source} takes {self.exchange.limits.symbols} on a connection; "
                "start a second feed under another --feed name for the rest"
            )
        if self.url is not None:
            _check_url(self.url)
        for name, seconds in (("seconds", self.seconds), ("stall", self.stall_seconds)):
            if seconds is not None and not 0 < seconds < math.inf:
                raise BadConfiguration(f"--{name} {seconds}: give a number above 0")

    @property
    def exchange(self) -> Exchange:
        """The exchange of that name."""
        return EXCHANGES[self.source]

    @property
    def names(self) -> list[str]:
        """The symbols as they are published, each once."""
        return list(dict.fromkeys(self._name(symbol) for symbol in self.symbols))

    def _name(self, symbol: str) -> str:
        if not _SYMBOL.fullmatch(symbol):
            raise BadConfiguration(f"{symbol!r} is no symbol of {self.source}: write BASE-QUOTE, as BTC-USD")
        return self.exchange.symbol(symbol.replace("/", "-"))


def _check_url(url: str) -> None:
    try:
        # A name that no host can have would fail in the connection, with an error that trying again does not mend.
        parse_uri(url).host.encode("idna")
    except (InvalidURI, ValueError) as error:
        raise BadConfiguration(f"--url {url}: give ws://… or wss://…") from error


@dataclass(frozen=True)
class LiveSummary:
    """What was sent, and what happened on the way to it."""

    summary: Summary
    counts: Counts


class NoQuotes(StreamError):
    """The time is up and not one quote has come."""

    exit_status = 1


def run(
    config: KafkaConfig,
    settings: LiveSettings,
    progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> LiveSummary:
    """Send quotes as they come, a clock each second whether any come or not, and an end clock at the end.

    Connections that fail are tried again for ever. Raises BadConfiguration when the exchange refuses a symbol that it
    never served and NoQuotes when none came in all of `seconds` (both after the end clock), NoBroker, MissingTopics,
    StreamError.
    """
    inbox = Inbox(latest_ts(config) or 0)
    exchange = settings.exchange
    patience = Patience(settings.stall_seconds or exchange.stall_seconds, settings.silent_seconds, settings.backoff)
    receiver = Receiver(exchange, settings.url or exchange.url, settings.names, patience, inbox)
    feed = settings.source if settings.feed is None else settings.feed
    with Session(config, feed, Wire.JSON, progress, stop or threading.Event()) as session:
        receiver.start()
        try:
            _forward(session, inbox, receiver, settings)
        finally:
            receiver.close()
        summary = session.finish(end=True)
    if receiver.failure is not None:
        raise receiver.failure
    if settings.seconds is not None and not receiver.counts.quotes and not session.stop.is_set():
        raise NoQuotes(f"no quote came from {settings.url or exchange.url} in {settings.seconds:g} s: {_why(receiver)}")
    return LiveSummary(summary, receiver.counts)


def _why(receiver: Receiver) -> str:
    counts = receiver.counts
    return receiver.trouble or f"it sent {counts.messages} messages, of which {counts.garbage} cannot be read"


def _forward(session: Session, inbox: Inbox, receiver: Receiver, settings: LiveSettings) -> None:
    """From the inbox to Kafka, until the run is to end."""
    symbols = settings.names
    numbers = {symbol: number for number, symbol in enumerate(symbols)}
    ends = math.inf if settings.seconds is None else time.monotonic() + settings.seconds
    while not session.stop.is_set() and receiver.failure is None and time.monotonic() < ends:
        ticks, now = inbox.take()
        if ticks:
            session.send(_quotes(ticks, symbols, numbers))
        session.publisher.advance(now)
        session.wait(0.0)


def _quotes(ticks: Sequence[tuple[int, Tick]], symbols: Sequence[str], numbers: dict[str, int]) -> Quotes:
    ts = np.array([ts for ts, _ in ticks], np.int64)
    number = np.array([numbers[tick.symbol] for _, tick in ticks], np.int32)
    sides = np.array([tick[1:5] for _, tick in ticks], np.float64)
    exchange_ts = np.array([tick.exchange_ts for _, tick in ticks], np.int64)
    return dataclasses.replace(sorted_quotes(symbols, number, ts, list(sides.T)), exchange_ts=exchange_ts)
