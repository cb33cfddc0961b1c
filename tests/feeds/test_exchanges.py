"""What the exchanges' messages mean; no network."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.feeds.exchanges import EXCHANGES
from agents.feeds.exchanges.exchange import Gap, Garbage, OutOfOrder, Reader, Refused, Tick, Trouble
from agents.feeds.live import LiveSettings
from tests.feeds import exchange_messages as say
from tests.feeds.exchange_messages import GARBAGE, TIME_NS

OURS = {"coinbase": {"BTC-USD": "BTC-USD"}, "binance": {"BTCUSDT": "BTC-USDT"}, "kraken": {"BTC/USD": "BTC-USD"}}
FIELDS = [
    *("type", "product_id", "sequence", "trade_id", "best_bid", "best_bid_size", "best_ask", "best_ask_size", "time"),
    *("last_trade_id", "message", "reason", "u", "s", "b", "B", "a", "A", "e", "data", "error", "code", "result"),
    *("channel", "symbol", "bid", "bid_qty", "ask", "ask_qty", "timestamp", "success", "method"),
]
WORDS = [
    "ticker",
    "heartbeat",
    "error",
    "BTC-USD",
    "BTCUSDT",
    "BTC/USD",
    "subscribe",
    "1.5",
    "0",
    "nan",
    "2026-13-99",
    "",
]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.sampled_from(WORDS), st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=14)),
    max_leaves=20,
)


def reader(source: str, symbols: Mapping[str, str] | None = None) -> Reader:
    made = EXCHANGES[source].reader(OURS[source] if symbols is None else symbols)
    made.connected()
    return made


def test_a_coinbase_ticker_is_a_quote_with_its_time() -> None:
    (tick,) = reader("coinbase").read(say.coinbase_ticker(5))
    assert tick == Tick("BTC-USD", 70691.27, 0.05851373, 70691.28, 0.0189, TIME_NS)


def test_a_binance_book_ticker_is_a_quote_without_a_time() -> None:
    (tick,) = reader("binance").read(say.binance_book_ticker(400900217))
    assert tick == Tick("BTC-USDT", 25.3519, 31.21, 25.3619, 40.66, 0)


def test_a_kraken_ticker_is_a_quote_with_its_time_if_it_has_one() -> None:
    (tick,) = reader("kraken").read(say.kraken_ticker())
    assert tick == Tick("BTC-USD", 70691.2, 1.25, 70691.3, 0.5, TIME_NS)
    (tick,) = reader("kraken").read(say.kraken_ticker(timestamp=None))
    assert isinstance(tick, Tick) and tick.exchange_ts == 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("binance", say.binance_acknowledgement()),
        ("kraken", say.kraken_acknowledgement()),
        ("kraken", say.KRAKEN_HEARTBEAT),
        ("kraken", say.KRAKEN_STATUS),
        ("coinbase", b'{"type":"subscriptions","channels":[]}'),
        ("coinbase", b'{"type":"a kind of next year"}'),
        ("coinbase", say.coinbase_heartbeat(7)),
    ],
)
def test_what_is_no_quote_means_nothing(source: str, message: bytes) -> None:
    assert list(reader(source).read(message)) == []


@pytest.mark.parametrize("source", EXCHANGES)
@pytest.mark.parametrize("message", GARBAGE)
def test_garbage_is_called_garbage(source: str, message: bytes) -> None:
    with pytest.raises(Garbage):
        list(reader(source).read(message))


@pytest.mark.parametrize(
    "changed",
    [
        {"best_bid": "0"},
        {"best_bid": "nan"},
        {"best_bid": None},
        {"best_ask": "1e999"},
        {"best_ask_size": True},
        {"best_bid_size": ""},
        {"product_id": "ETH-USD"},
        {"product_id": ["BTC-USD"]},
        {"sequence": "5"},
        {"trade_id": 1.5},
        {"time": "yesterday"},
        {"time": "2026-02-30T00:00:00Z"},
        {"time": "9999-01-01T00:00:00Z"},
        {"time": 5},
    ],
)
def test_a_ticker_with_a_wrong_field_is_garbage(changed: dict[str, Any]) -> None:
    with pytest.raises(Garbage):
        reader("coinbase").read(say.coinbase_ticker(5, **changed))


@pytest.mark.parametrize("source", EXCHANGES)
@given(value=VALUES)
def test_no_json_breaks_a_reader(source: str, value: Any) -> None:
    reading = reader(source)
    for message in (value, {**value, "type": "ticker", "channel": "ticker"} if isinstance(value, dict) else [value]):
        try:
            events = list(reading.read(orjson.dumps(message)))
        except Garbage:
            continue
        for event in events:
            assert not isinstance(event, Tick) or (
                event.bid > 0 and event.ask_size > 0 and 0 <= event.exchange_ts < 2**63
            )


def test_a_trade_that_a_heartbeat_names_and_no_ticker_brings_is_a_gap() -> None:
    reading = reader("coinbase")
    reading.read(say.coinbase_ticker(5))
    assert reading.read(say.coinbase_heartbeat(7)) == ()  # its ticker may be on the way
    assert [type(event) for event in reading.read(say.coinbase_heartbeat(7))] == [Gap]
    assert reading.read(say.coinbase_heartbeat(7)) == ()  # told once


def test_a_ticker_that_comes_after_its_heartbeat_is_no_gap() -> None:
    reading = reader("coinbase")
    reading.read(say.coinbase_ticker(5))
    reading.read(say.coinbase_heartbeat(7))
    assert [type(event) for event in reading.read(say.coinbase_ticker(9))] == [Tick]
    assert reading.read(say.coinbase_heartbeat(9)) == ()


def test_a_ticker_of_a_book_with_one_side_is_left_out_and_no_gap() -> None:
    reading = reader("coinbase")
    reading.read(say.coinbase_ticker(5))
    with pytest.raises(Garbage, match="best_ask"):
        reading.read(say.coinbase_ticker(6, best_ask="0", best_ask_size="0.00000000"))
    assert [reading.read(say.coinbase_heartbeat(6)) for _ in range(2)] == [(), ()]
    assert kinds(reading, say.coinbase_ticker(7)) == [Tick]


def test_what_is_older_than_what_was_read_is_out_of_order() -> None:
    coinbase, binance = reader("coinbase"), reader("binance")
    coinbase.read(say.coinbase_ticker(5))
    binance.read(say.binance_book_ticker(100))
    assert coinbase.read(say.coinbase_ticker(4)) == (OutOfOrder("BTC-USD"),)
    assert binance.read(say.binance_book_ticker(99)) == (OutOfOrder("BTC-USDT"),)


def kinds(reading: Reader, message: bytes) -> list[type]:
    return [type(event) for event in reading.read(message)]


def test_what_happened_between_two_connections_is_a_gap() -> None:
    coinbase, binance, kraken = reader("coinbase"), reader("binance"), reader("kraken")
    coinbase.read(say.coinbase_ticker(5))
    binance.read(say.binance_book_ticker(100))
    list(kraken.read(say.kraken_ticker()))
    for reading in (coinbase, binance, kraken):
        reading.connected()
    assert kinds(coinbase, say.coinbase_ticker(8)) == [Gap, Tick]
    assert kinds(binance, say.binance_book_ticker(150)) == [Gap, Tick]
    assert kinds(kraken, say.kraken_ticker()) == [Gap, Tick]
    assert kinds(coinbase, say.coinbase_ticker(9)) == [Tick]
    assert kinds(binance, say.binance_book_ticker(170)) == [Tick]
    assert kinds(kraken, say.kraken_ticker()) == [Tick]


def test_nothing_missed_between_two_connections_is_no_gap() -> None:
    coinbase, binance = reader("coinbase"), reader("binance")
    coinbase.read(say.coinbase_ticker(5))
    binance.read(say.binance_book_ticker(100))
    coinbase.connected()
    binance.connected()
    assert kinds(coinbase, say.coinbase_ticker(5)) == [Tick]
    assert kinds(binance, say.binance_book_ticker(101)) == [Tick]


def test_numbers_that_begin_anew_after_a_reconnect_are_taken() -> None:
    binance, coinbase = reader("binance"), reader("coinbase")
    binance.read(say.binance_book_ticker(100))
    coinbase.read(say.coinbase_ticker(100))
    binance.connected()
    coinbase.connected()
    assert kinds(binance, say.binance_book_ticker(1)) == [Gap, Tick]
    assert kinds(coinbase, say.coinbase_ticker(1)) == [Gap, Tick]


def test_refusals_are_told_from_trouble() -> None:
    assert list(reader("coinbase").read(say.coinbase_refusal("BTC-USD"))) == [
        Refused("BTC-USD", "Failed to subscribe: BTC-USD is not a valid product")
    ]
    assert list(reader("coinbase").read(say.coinbase_refusal(""))) == [
        Refused(None, "Failed to subscribe:  is not a valid product")
    ]
    assert list(reader("coinbase").read(say.coinbase_refusal("BTC-USD", "is delisted"))) == [
        Refused("BTC-USD", "Failed to subscribe: BTC-USD is delisted")
    ]
    assert list(reader("coinbase").read(say.coinbase_refusal("BTC-USD", "is gone"))) == [
        Refused("BTC-USD", "Failed to subscribe: BTC-USD is gone")
    ]
    assert list(reader("coinbase").read(say.coinbase_refusal("OLD-USD", "is delisted"))) == [
        Refused(None, "Failed to subscribe: OLD-USD is delisted")
    ]
    assert kinds(reader("coinbase"), say.coinbase_refusal("Too many", "subscriptions")) == [Trouble]
    assert list(reader("kraken").read(say.kraken_refusal("BTC/USD"))) == [
        Refused("BTC-USD", "Currency pair not supported BTC/USD")
    ]
    refused = orjson.dumps({"error": {"code": 2, "msg": "Invalid request: unknown variant"}, "id": 1})
    assert kinds(reader("binance"), refused) == [Refused]
    for source, message in {
        "coinbase": b'{"type":"error","message":"ErrSlowConsume"}',
        "binance": b'{"stream":"x","data":{"e":"serverShutdown","E":1770123456789}}',
        "kraken": b'{"error":"Exceeded msg rate","success":false}',
    }.items():
        assert kinds(reader(source), message) == [Trouble]


@pytest.mark.parametrize("words", [b"null", b"5", b'{"a": 1}', say.DEEP], ids=["null", "number", "object", "deep"])
def test_an_error_without_words_is_trouble(words: bytes) -> None:
    for source, message in {
        "coinbase": b'{"type": "error", "message": %b, "reason": %b}',
        "binance": b'{"error": {"code": %b, "msg": %b}}',
        "kraken": b'{"error": %b, "symbol": %b, "success": false, "method": "subscribe"}',
    }.items():
        assert kinds(reader(source), message % (words, words)) == [Trouble]


def test_coinbase_is_asked_for_each_symbol_on_its_own() -> None:
    """It ignores a whole request for one product in it that it does not know."""
    requests = EXCHANGES["coinbase"].requests(["BTC-USD", "ETH-USD"])
    assert [orjson.loads(request)["product_ids"] for request in requests] == [["BTC-USD"], ["ETH-USD"]]


def test_binance_gets_no_request_that_is_too_long_to_be_answered() -> None:
    longest = LiveSettings("binance", [f"{number:015}-{'X' * 15}" for number in range(1024)])
    requests = EXCHANGES["binance"].requests([EXCHANGES["binance"].pair(name) for name in longest.names])
    header = 8  # of a client's frame of this length
    assert max(map(len, requests)) + header <= 4096


def test_an_entry_that_cannot_be_read_leaves_the_others_of_its_message_alone() -> None:
    entries = [orjson.loads(say.kraken_ticker(bid=bid))["data"][0] for bid in (1.0, 0.0, 3.0)]
    message = orjson.dumps({"channel": "ticker", "type": "update", "data": [*entries, "text"]})
    events = iter(reader("kraken").read(message))
    assert [next(events).bid, next(events).bid] == [1.0, 3.0]
    with pytest.raises(Garbage, match="bid is 0"):
        next(events)


def test_requests_ask_for_every_symbol_within_the_limits() -> None:
    symbols = [f"S{i}-USD" for i in range(120)]
    for source, entry in EXCHANGES.items():
        pairs = [entry.pair(symbol) for symbol in symbols]
        requests = [orjson.loads(request) for request in entry.requests(pairs)]
        asked = {
            "coinbase": lambda request: request["product_ids"],
            "binance": lambda request: [name.split("@")[0].upper() for name in request["params"]],
            "kraken": lambda request: request["params"]["symbol"],
        }[source]
        assert [pair for request in requests for pair in asked(request)] == pairs
        assert all(len(asked(request)) <= entry.limits.symbols_a_request for request in requests)
