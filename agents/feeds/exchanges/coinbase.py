"""Coinbase Exchange: the `ticker` channel, and `heartbeat` beside it.

From its public documentation (docs.cdp.coinbase.com, Exchange, WebSocket feed): a ticker comes with every match and
carries best_bid, best_bid_size, best_ask and best_ask_size as text, `time`, `trade_id` and `sequence`; matches of one
taker order may be batched into one ticker, so neither number rises by one. A heartbeat a second and product names the
last trade (`last_trade_id`), which is how a lost ticker shows. `sequence` rises with each message of a product; a
smaller one came out of order and can be ignored. Who does not subscribe within 5 s is disconnected; 8 connections a
second from an address (bursts of 20), 100 messages a second on a connection. A subscription to several products is
refused whole when one of them is unknown or delisted, so each is asked for on its own.
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
from agents.feeds.exchanges.fields import integer, json_object, said, shown, sides, symbol_of, time_ns

_LIMITS = Limits(attempts=100, attempt_seconds=300.0, message_seconds=0.05, symbols=500, symbols_a_request=1)


class CoinbaseReader:
    """Reads tickers and heartbeats.

    A heartbeat's last trade must have come as a ticker (or be older than one) before the next heartbeat: else
    there is a gap.
    """

    def __init__(self, symbols: Mapping[str, str]) -> None:
        self._symbols = symbols
        self._sequence: dict[str, int] = {}
        self._trade: dict[str, int] = {}  # the last one known to have happened
        self._due: dict[str, int] = {}  # the trade that the last heartbeat named
        self._resumed: set[str] = set()

    def connected(self) -> None:
        """See `Reader`."""
        self._due.clear()
        self._sequence.clear()
        self._resumed = set(self._trade)

    def read(self, message: bytes) -> Iterable[Event]:
        """See `Reader`."""
        fields = json_object(message)
        kind = fields.get("type")
        if kind == "ticker":
            return self._ticker(fields)
        if kind == "heartbeat":
            return self._heartbeat(fields)
        if kind == "error":
            return (self._error(fields),)
        if not isinstance(kind, str):
            raise Garbage(f"type is {shown(kind)}")
        return ()

    def _ticker(self, fields: Mapping[str, Any]) -> Iterable[Event]:
        symbol = symbol_of(fields, "product_id", self._symbols)
        sequence, trade = integer(fields, "sequence"), integer(fields, "trade_id")
        if sequence < self._sequence.get(symbol, sequence):
            return (OutOfOrder(symbol),)
        # Noted whatever its prices are: a ticker of a book with one side has come, and is no gap.
        self._sequence[symbol] = sequence
        last = self._trade.get(symbol, trade)
        self._trade[symbol] = trade
        quoted = sides(fields, "best_bid", "best_bid_size", "best_ask", "best_ask_size")
        tick = Tick(symbol, *quoted, time_ns(fields, "time"))
        if symbol in self._resumed:
            self._resumed.discard(symbol)
            if trade != last:
                return Gap(symbol, f"trades after {last} up to {trade}, while there was no connection"), tick
        return (tick,)

    def _heartbeat(self, fields: Mapping[str, Any]) -> Iterable[Event]:
        symbol = symbol_of(fields, "product_id", self._symbols)
        named = integer(fields, "last_trade_id")
        due, seen = self._due.get(symbol), self._trade.get(symbol)
        self._due[symbol] = named
        if due is None or seen is None or seen >= due or symbol in self._resumed:
            return ()
        self._trade[symbol] = due
        return (Gap(symbol, f"trades after {seen} up to {due}"),)

    def _error(self, fields: Mapping[str, Any]) -> Event:
        message, reason = said(fields.get("message")), said(fields.get("reason", ""))
        text = f"{message}: {reason}" if reason else message
        words = reason.split()
        symbol = next((symbol for pair, symbol in self._symbols.items() if pair in words), None)
        about_a_product = symbol is not None or any(word in reason.lower() for word in ("product", "delisted"))
        if message == "Failed to subscribe" and about_a_product:
            return Refused(symbol, text)
        return Trouble(text)


def _requests(pairs: Sequence[str]) -> list[bytes]:
    groups = in_groups(pairs, _LIMITS.symbols_a_request)
    channels = ["ticker", "heartbeat"]
    return [orjson.dumps({"type": "subscribe", "product_ids": list(each), "channels": channels}) for each in groups]


COINBASE = Exchange(
    name="coinbase",
    url="wss://ws-feed.exchange.coinbase.com",
    limits=_LIMITS,
    stall_seconds=10.0,
    symbol=str.upper,
    pair=str,
    requests=_requests,
    reader=CoinbaseReader,
)
