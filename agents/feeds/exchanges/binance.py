"""Binance Spot: the `<symbol>@bookTicker` streams, combined on one connection.

From its public documentation (developers.binance.com, Spot, WebSocket streams): each change of the best bid or ask or
of their quantities is pushed as u, s, b, B, a, A (prices and quantities as text). `u` is the order book's update id: it
rises, but not by one from one message to the next (most updates do not touch the top), so a message that is lost on
the way cannot be told by it, only what was missed between two connections. There is no time in it. A stream of a
symbol that does not exist is acknowledged and stays silent, as is one whose book does not change: that a connection has
died shows in its pings alone. The server ends a connection after 24 hours; at most 5 messages a second from the client,
1,024 streams a connection, 300 attempts in 5 minutes from an address. A request that takes more than 4,096 bytes on the
line is not answered at all (binance/binance-connector-rust#27, altangent/ccxws#161): so many symbols go into one that
the longest names fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from agents.feeds.exchanges.exchange import (
    Event,
    Exchange,
    Gap,
    Garbage,
    Limits,
    OutOfOrder,
    Refused,
    Tick,
    Trouble,
    in_groups,
)
from agents.feeds.exchanges.fields import integer, json_object, mapping, said, shown, sides, symbol_of

_LIMITS = Limits(attempts=100, attempt_seconds=300.0, message_seconds=0.5, symbols=1024, symbols_a_request=90)
_INVALID_REQUEST = range(1, 4)


class BinanceReader:
    """Reads book tickers, whether they come wrapped with their stream's name or not."""

    def __init__(self, symbols: Mapping[str, str]) -> None:
        self._symbols = symbols
        self._update: dict[str, int] = {}
        self._resumed: set[str] = set()

    def connected(self) -> None:
        """See `Reader`."""
        self._resumed = set(self._update)

    def read(self, message: bytes) -> Iterable[Event]:
        """See `Reader`."""
        fields = json_object(message)
        data = mapping(fields["data"], "data") if "data" in fields else fields
        if "u" in data:
            return self._book_ticker(data)
        if data.get("e") == "serverShutdown":
            return (Trouble("the server is about to shut down"),)
        error = fields.get("error", fields)
        if isinstance(error, dict) and "code" in error:
            return (_error(error),)
        if "result" not in fields and not isinstance(data.get("e"), str):
            raise Garbage(f"neither quote nor answer: {shown(fields)}")
        return ()

    def _book_ticker(self, fields: Mapping[str, Any]) -> Iterable[Event]:
        symbol = symbol_of(fields, "s", self._symbols)
        update = integer(fields, "u")
        tick = Tick(symbol, *sides(fields, "b", "B", "a", "A"), 0)
        last = self._update.get(symbol, update)
        resumed = symbol in self._resumed
        if update < last and not resumed:
            return (OutOfOrder(symbol),)
        self._resumed.discard(symbol)
        self._update[symbol] = update
        if resumed and not 0 <= update - last <= 1:
            return Gap(symbol, f"updates after {last} up to {update}, while there was no connection"), tick
        return (tick,)


def _error(error: Mapping[str, Any]) -> Event:
    text = f"{said(error.get('msg'))} (code {shown(error['code'])})"
    refused = isinstance(error["code"], int) and error["code"] in _INVALID_REQUEST
    return Refused(None, text) if refused else Trouble(text)


def _pair(symbol: str) -> str:
    return symbol.replace("-", "").upper()


def _requests(pairs: Sequence[str]) -> list[bytes]:
    streams = [f"{pair.lower()}@bookTicker" for pair in pairs]
    groups = in_groups(streams, _LIMITS.symbols_a_request)
    return [
        orjson.dumps({"method": "SUBSCRIBE", "params": list(each), "id": number})
        for number, each in enumerate(groups, start=1)
    ]


BINANCE = Exchange(
    name="binance",
    url="wss://stream.binance.com:9443/stream",
    limits=_LIMITS,
    stall_seconds=900.0,
    symbol=str.upper,
    pair=_pair,
    requests=_requests,
    reader=BinanceReader,
)
