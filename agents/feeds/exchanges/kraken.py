"""Kraken Spot, WebSocket v2: the `ticker` channel, at each change of the best bid or ask.

From its public documentation (docs.kraken.com, Spot WebSocket v2): with event_trigger `bbo` a ticker comes with each
change of the best prices, after a snapshot; it carries bid, bid_qty, ask and ask_qty as numbers and a `timestamp`
(RFC 3339). It is whole each time and has no number, so what was lost cannot be told, only that it may have been while
there was no connection; the next one heals it. A heartbeat comes about each second when nothing else does. Each symbol
is acknowledged or refused on its own. Attempts to connect and requests are limited by address; the figures here stay
far below what other clients report (about 150 attempts in 10 minutes).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from agents.feeds.exchanges.exchange import Event, Exchange, Gap, Garbage, Limits, Refused, Tick, Trouble, in_groups
from agents.feeds.exchanges.fields import json_object, mapping, said, shown, sides, symbol_of, time_ns

_LIMITS = Limits(attempts=60, attempt_seconds=600.0, message_seconds=1.0, symbols=500, symbols_a_request=50)


class KrakenReader:
    """Reads tickers and the answers to subscriptions."""

    def __init__(self, symbols: Mapping[str, str]) -> None:
        self._symbols = symbols
        self._seen: set[str] = set()
        self._resumed: set[str] = set()

    def connected(self) -> None:
        """See `Reader`."""
        self._resumed = set(self._seen)

    def read(self, message: bytes) -> Iterable[Event]:
        """See `Reader`."""
        fields = json_object(message)
        if fields.get("channel") == "ticker":
            data = fields.get("data")
            if not isinstance(data, list):
                raise Garbage(f"data is {shown(data)}, not a list")
            return self._tickers(data)
        if fields.get("success") is False or "error" in fields:
            return (self._error(fields),)
        if not isinstance(fields.get("channel", fields.get("method")), str):
            raise Garbage(f"neither channel nor method: {shown(fields)}")
        return ()

    def _tick(self, fields: Mapping[str, Any]) -> Tick:
        symbol = symbol_of(fields, "symbol", self._symbols)
        quoted = sides(fields, "bid", "bid_qty", "ask", "ask_qty")
        return Tick(symbol, *quoted, time_ns(fields, "timestamp"))

    def _tickers(self, data: Sequence[Any]) -> Iterator[Event]:
        garbage: Garbage | None = None
        for each in data:
            try:
                tick = self._tick(mapping(each, "ticker"))
            except Garbage as error:
                garbage = garbage or error
                continue
            if tick.symbol in self._resumed:
                self._resumed.discard(tick.symbol)
                yield Gap(tick.symbol, "what changed while there was no connection")
            self._seen.add(tick.symbol)
            yield tick
        if garbage is not None:
            raise garbage

    def _error(self, fields: Mapping[str, Any]) -> Event:
        text, pair = said(fields.get("error")), fields.get("symbol")
        if fields.get("method") == "subscribe" and "pair" in text.lower():
            return Refused(self._symbols.get(pair) if isinstance(pair, str) else None, text)
        return Trouble(text)


def _written(symbol: str) -> str:
    return symbol.replace("-", "/")


def _requests(pairs: Sequence[str]) -> list[bytes]:
    return [
        orjson.dumps({"method": "subscribe", "params": {"channel": "ticker", "symbol": list(each), **_TRIGGER}})
        for each in in_groups(pairs, _LIMITS.symbols_a_request)
    ]


_TRIGGER = {"event_trigger": "bbo", "snapshot": True}

KRAKEN = Exchange(
    name="kraken",
    url="wss://ws.kraken.com/v2",
    limits=_LIMITS,
    stall_seconds=10.0,
    symbol=str,
    pair=_written,
    requests=_requests,
    reader=KrakenReader,
)
