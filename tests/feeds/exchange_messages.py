"""Messages in the forms that the three exchanges document, as their servers would send them."""

from __future__ import annotations

from typing import Any

import orjson

TIME = "2026-03-11T16:54:02.163093Z"
TIME_NS = 1_773_248_042_163_093_000


def coinbase_ticker(trade: int, symbol: str = "BTC-USD", bid: float = 70691.27, **changed: Any) -> bytes:
    fields = {
        "type": "ticker",
        "sequence": 123_894_000_000 + 10 * trade,
        "product_id": symbol,
        "price": f"{bid}",
        "open_24h": "71290.91",
        "volume_24h": "10302.66386023",
        "best_bid": f"{bid}",
        "best_bid_size": "0.05851373",
        "best_ask": f"{bid + 0.01:.2f}",
        "best_ask_size": "0.01890000",
        "side": "sell",
        "time": TIME,
        "trade_id": trade,
        "last_size": "0.001705",
    }
    return orjson.dumps({**fields, **changed})


def coinbase_heartbeat(last_trade: int, symbol: str = "BTC-USD") -> bytes:
    fields = {"type": "heartbeat", "sequence": 1, "last_trade_id": last_trade, "product_id": symbol, "time": TIME}
    return orjson.dumps(fields)


def coinbase_refusal(symbol: str, why: str = "is not a valid product") -> bytes:
    reason = f"{symbol} {why}"
    return orjson.dumps({"type": "error", "message": "Failed to subscribe", "reason": reason})


def binance_book_ticker(update: int, pair: str = "BTCUSDT", bid: float = 25.3519) -> bytes:
    data = {"u": update, "s": pair, "b": f"{bid:.8f}", "B": "31.21000000", "a": f"{bid + 0.01:.8f}", "A": "40.66000000"}
    return orjson.dumps({"stream": f"{pair.lower()}@bookTicker", "data": data})


def binance_acknowledgement(number: int = 1) -> bytes:
    return orjson.dumps({"result": None, "id": number})


def kraken_ticker(pair: str = "BTC/USD", bid: float = 70691.2, kind: str = "update", **changed: Any) -> bytes:
    data = {
        "symbol": pair,
        "bid": bid,
        "bid_qty": 1.25,
        "ask": bid + 0.1,
        "ask_qty": 0.5,
        "last": bid,
        "volume": 1234.5,
        "vwap": 70000.0,
        "low": 69000.0,
        "high": 71000.0,
        "change": -599.6,
        "change_pct": -0.84,
        "timestamp": TIME,
    }
    return orjson.dumps({"channel": "ticker", "type": kind, "data": [{**data, **changed}]})


def kraken_acknowledgement(pair: str = "BTC/USD") -> bytes:
    result = {"channel": "ticker", "symbol": pair, "snapshot": True}
    return orjson.dumps({"method": "subscribe", "result": result, "success": True, "time_in": TIME, "time_out": TIME})


def kraken_refusal(pair: str) -> bytes:
    return orjson.dumps(
        {"error": f"Currency pair not supported {pair}", "method": "subscribe", "success": False, "symbol": pair}
    )


KRAKEN_HEARTBEAT = b'{"channel":"heartbeat"}'
KRAKEN_STATUS = orjson.dumps(
    {"channel": "status", "type": "update", "data": [{"system": "online", "version": "2.0.9"}]}
)
DEEP = b"[" * 1000 + b"]" * 1000
GARBAGE = (
    b"",
    b"\xff\xfe",
    b"{",
    b"[]",
    b"null",
    b"1e400",
    b'"text"',
    b"{}",
    b'{"type": 5, "u": 1, "channel": 7}',
    b'{"type":"ticker","channel":"ticker","u":3}',
    b"[" * 5000,
    DEEP,
    b'{"type": %b, "data": %b, "result": 1, "channel": "ticker"}' % (DEEP, DEEP),
)
