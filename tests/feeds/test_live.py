"""Live quotes from a server that plays an exchange, onto a real broker."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from websockets.sync.client import ClientConnection
from websockets.sync.server import ServerConnection

from agents.feeds import live
from agents.feeds.attempts import Backoff
from agents.feeds.exchanges import EXCHANGES
from agents.feeds.live import LiveSettings, LiveSummary, NoQuotes
from agents.stream.config import KafkaConfig
from agents.stream.errors import BadConfiguration, MissingTopics
from agents.stream.tail import last_records
from schemas.records import Quote
from schemas.times import NS
from schemas.topics import QUOTES
from tests.feeds import exchange_messages as say
from tests.feeds.exchange_server import ExchangeServer, exchange, sends, sends_and_drops
from tests.feeds.hand_clock import HandClock
from tests.feeds.topic import clocks
from tests.kafka import Kafka

PATIENCE_SECONDS = 120.0  # a process of its own starts slowly on a busy machine
SOON_SECONDS = 8.0  # 2 on a machine that does nothing else
QUICK = Backoff(first=0.05, longest=0.4)


def sent(config: KafkaConfig) -> list[Quote]:
    """All quotes that the topic holds, by ts."""
    values = [message.value() for message in last_records(config, QUOTES, 100_000) if message.key() is not None]
    return sorted((msgspec.json.decode(value, type=Quote) for value in values), key=lambda quote: quote.ts)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS:g} s: {what}"
        time.sleep(0.02)


@dataclass
class Running:
    """A feed that runs in a thread; `end` stops it and says what it did."""

    stop: threading.Event
    result: Any

    def end(self) -> LiveSummary:
        self.stop.set()
        return self.result.result(timeout=PATIENCE_SECONDS)


@contextlib.contextmanager
def feed(config: KafkaConfig, server: ExchangeServer, source: str, *symbols: str, **settings: Any) -> Iterator[Running]:
    chosen = LiveSettings(source, symbols, server.url, **{"backoff": QUICK, **settings})
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = Running(stop, pool.submit(live.run, config, chosen, None, stop))
        try:
            yield running
        finally:
            stop.set()


MESSAGES = {
    "coinbase": ("BTC-USD", [say.coinbase_ticker(trade, bid=70000.0 + trade) for trade in range(1, 6)]),
    "binance": ("BTC-USDT", [say.binance_book_ticker(100 + 7 * i, bid=70001.0 + i) for i in range(5)]),
    "kraken": ("BTC-USD", [say.KRAKEN_STATUS, *(say.kraken_ticker(bid=70001.0 + i) for i in range(5))]),
}


@pytest.mark.parametrize("source", MESSAGES)
def test_quotes_and_clocks_of_an_exchange_come_out_of_kafka(config: KafkaConfig, source: str) -> None:
    symbol, messages = MESSAGES[source]
    before = time.time_ns()
    with exchange(sends(*messages)) as server, feed(config, server, source, symbol) as running:
        wait_for(lambda: len(sent(config)) == 5, "five quotes")
        wait_for(lambda: all(len(each) >= 3 for each in clocks(config)), "clocks without quotes")
        done = running.end()
    after = time.time_ns()
    found = sent(config)
    assert [(quote.symbol, quote.bid) for quote in found] == [(symbol, 70001.0 + i) for i in range(5)]
    assert before <= found[0].ts and found[-1].ts <= after
    assert all(later.ts > earlier.ts for earlier, later in pairwise(found))
    exchange_times = [quote.exchange_ts for quote in found]
    assert exchange_times == [msgspec.UNSET if source == "binance" else say.TIME_NS] * 5
    for each in clocks(config):
        assert {clock.feed for clock in each} == {source}
        assert all(later.clock - earlier.clock == NS for earlier, later in pairwise(each[:-1]))
        assert each[-1].end and each[-1].clock >= found[-1].ts
        assert not any(clock.end for clock in each[:-1])
    assert done.summary.ended and done.summary.quotes == done.counts.quotes == 5
    assert (done.counts.gaps, done.counts.garbage, done.counts.reconnects) == (0, 0, 0)


def test_no_row_comes_after_a_clock_that_it_contradicts(config: KafkaConfig) -> None:
    def chatters(server: ExchangeServer, connection: ServerConnection) -> None:
        trade = 0
        while not server.closing.is_set():
            trade += 1
            connection.send(say.coinbase_ticker(trade))

    with exchange(chatters) as server, feed(config, server, "coinbase", "BTC-USD") as running:
        wait_for(lambda: min(len(each) for each in clocks(config)) >= 4, "clocks among many quotes")
        assert running.end().counts.quotes > 100
    of_rows: dict[int, int] = {}
    for message in last_records(config, QUOTES, 1_000_000):
        record = msgspec.json.decode(message.value())
        partition = message.partition()
        if "clock" in record:
            of_rows[partition] = max(of_rows.get(partition, 0), record["clock"])
        else:
            assert record["ts"] >= of_rows.get(partition, 0)


def test_a_dropped_connection_is_replaced_and_what_was_missed_is_counted(config: KafkaConfig) -> None:
    plays = (
        sends_and_drops(say.coinbase_ticker(1)),
        sends_and_drops(say.coinbase_ticker(4)),
        sends(say.coinbase_ticker(4)),
    )
    with exchange(*plays) as server, feed(config, server, "coinbase", "BTC-USD") as running:
        wait_for(lambda: len(sent(config)) == 3, "a quote of each connection")
        done = running.end()
    assert len(server.requests) == 3 and all(len(each) == 1 for each in server.requests)
    assert (done.counts.reconnects, done.counts.gaps) == (2, 1)  # trades 2 to 4; then nothing
    assert all(not clock.end for each in clocks(config) for clock in each[:-1])


def test_a_silent_connection_is_replaced(config: KafkaConfig) -> None:
    plays = (sends(say.kraken_ticker(bid=1.0)), sends(say.kraken_ticker(bid=2.0)))
    with exchange(*plays) as server, feed(config, server, "kraken", "BTC-USD", stall_seconds=0.4) as running:
        wait_for(lambda: {quote.bid for quote in sent(config)} == {1.0, 2.0}, "a quote after the stall")
        done = running.end()
    assert done.counts.stalls >= 1 and done.counts.reconnects >= 1
    assert server.attempts[1] - server.attempts[0] >= 0.4


@pytest.mark.parametrize("source", MESSAGES)
def test_garbage_is_counted_and_the_quotes_around_it_are_taken(config: KafkaConfig, source: str) -> None:
    symbol, messages = MESSAGES[source]
    mixed = [each for message in messages for each in (*say.GARBAGE, message)]
    with exchange(sends(*mixed)) as server, feed(config, server, source, symbol) as running:
        wait_for(lambda: len(sent(config)) == 5, "five quotes")
        done = running.end()
    assert done.counts.garbage == len(say.GARBAGE) * len(messages)
    assert done.counts.attempts == 1


def test_a_server_that_is_too_busy_is_tried_again_when_it_says_so(
    config: KafkaConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, logger="agents.feeds"),
        exchange(sends(say.coinbase_ticker(1)), refusals=1, retry_after="1") as server,
        feed(config, server, "coinbase", "BTC-USD") as running,
    ):
        wait_for(lambda: len(sent(config)) == 1, "a quote after the refusal")
        running.end()
    assert server.attempts[1] - server.attempts[0] >= 1.0
    assert "status 429" in caplog.text and "quotes again after" in caplog.text


def test_requests_keep_the_exchanges_distance(config: KafkaConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    sent_at: list[float] = []
    send = ClientConnection.send

    def noted(connection: ClientConnection, *message: Any, **options: Any) -> None:
        sent_at.append(time.monotonic())
        send(connection, *message, **options)

    monkeypatch.setattr(ClientConnection, "send", noted)
    symbols = [f"S{number}-USD" for number in range(120)]
    limits = EXCHANGES["kraken"].limits
    with exchange(sends(say.KRAKEN_STATUS)) as server, feed(config, server, "kraken", *symbols):
        wait_for(lambda: len(sent_at) == 3, "three requests of at most 50 symbols")
    assert limits.symbols_a_request == 50
    assert all(later - earlier >= limits.message_seconds for earlier, later in pairwise(sent_at))


def test_long_trouble_is_told_once_and_tried_on(config: KafkaConfig, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, logger="agents.feeds"),
        exchange(sends(say.coinbase_ticker(1)), refusals=9) as server,
        feed(config, server, "coinbase", "BTC-USD", backoff=Backoff(0.02, 0.05)) as running,
    ):
        wait_for(lambda: len(sent(config)) == 1, "a quote after nine refusals")
        done = running.end()
    assert done.counts.attempts == 10
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 2
    assert "no connection to ws://" in warnings[0] and "after 5 tries" in warnings[1]


def test_clocks_go_on_while_the_exchange_is_away(config: KafkaConfig) -> None:
    with exchange(sends(), refusals=1_000) as server, feed(config, server, "coinbase", "BTC-USD") as running:
        wait_for(lambda: min(len(each) for each in clocks(config)) >= 3, "clocks")
        done = running.end()
    assert done.summary.quotes == 0
    assert all(each[-1].end for each in clocks(config))


@pytest.mark.parametrize(
    ("source", "message"),
    [("coinbase", say.coinbase_refusal("FOO-USD")), ("kraken", say.kraken_refusal("FOO/USD"))],
)
def test_a_refused_symbol_ends_the_feed_with_the_exchanges_words(
    config: KafkaConfig, source: str, message: bytes
) -> None:
    with (
        exchange(sends(message)) as server,
        feed(config, server, source, "FOO-USD") as running,
        pytest.raises(BadConfiguration, match=f"{source} refuses .*FOO"),
    ):
        running.result.result(timeout=PATIENCE_SECONDS)
    assert all(each[-1].end for each in clocks(config) if each)


def test_a_symbol_that_was_served_before_may_be_refused_later(config: KafkaConfig) -> None:
    plays = (
        sends_and_drops(say.kraken_ticker("BTC/USD"), say.kraken_ticker("ETH/USD")),
        sends(say.kraken_refusal("ETH/USD"), say.kraken_ticker("BTC/USD", bid=9.0)),
    )
    with exchange(*plays) as server, feed(config, server, "kraken", "BTC/USD", "ETH-USD") as running:
        wait_for(lambda: any(quote.bid == 9.0 for quote in sent(config)), "the other symbol's quote")
        running.end()


def test_a_symbol_without_quotes_is_told(config: KafkaConfig, caplog: pytest.LogCaptureFixture) -> None:
    play = sends(say.binance_acknowledgement(), say.binance_book_ticker(1))
    with (
        caplog.at_level(logging.WARNING, logger="agents.feeds"),
        exchange(play) as server,
        feed(config, server, "binance", "BTC-USDT", "FOO-USDT", silent_seconds=0.3),
    ):
        wait_for(lambda: "no quote of FOO-USDT yet" in caplog.text, "the warning")
    assert "BTC-USDT" not in caplog.text


def test_a_second_start_goes_on_after_the_first(config: KafkaConfig) -> None:
    with exchange(sends(say.coinbase_ticker(1))) as server:
        for count in (1, 2):
            with feed(config, server, "coinbase", "BTC-USD") as running:
                wait_for(lambda count=count: len(sent(config)) == count, "one more quote")
                running.end()
    for each in clocks(config):
        # Without the ends: a start in the same second begins with the whole second again, which promises less.
        going_on = [clock.clock for clock in each if not clock.end]
        assert going_on == sorted(going_on)
        assert sum(clock.end for clock in each) == 2


@pytest.fixture
def hand_clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    """The clock by which a feed's seconds are counted."""
    made = HandClock()
    monkeypatch.setattr(live, "time", made)
    return made


def test_it_ends_after_the_seconds_given(config: KafkaConfig, hand_clock: HandClock) -> None:
    with (
        exchange(sends(say.coinbase_ticker(1))) as server,
        feed(config, server, "coinbase", "BTC-USD", seconds=60.0) as running,
    ):
        wait_for(lambda: len(sent(config)) == 1, "a quote")
        hand_clock.now = 60.0
        done = running.result.result(timeout=PATIENCE_SECONDS)
    assert done.summary.ended and done.summary.quotes == 1


@pytest.mark.parametrize(
    ("messages", "refusals", "logged", "said"),
    [
        ((), 1_000, "no connection", "it answers with status 429"),
        ((), 0, "no quote of BTC-USD", "it sent 0 messages, of which 0 cannot be read"),
        ((say.coinbase_heartbeat(7), b"{"), 0, "left out", "it sent 2 messages, of which 1 cannot be read"),
    ],
    ids=["unreachable", "silent", "no quotes"],
)
def test_seconds_without_any_quote_are_a_failure_that_says_why(
    config: KafkaConfig,
    hand_clock: HandClock,
    caplog: pytest.LogCaptureFixture,
    messages: tuple[bytes, ...],
    refusals: int,
    logged: str,
    said: str,
) -> None:
    with (
        exchange(sends(*messages), refusals=refusals) as server,
        feed(config, server, "coinbase", "BTC-USD", seconds=60.0, silent_seconds=0.3) as running,
    ):
        wait_for(lambda: logged in caplog.text, logged)
        hand_clock.now = 60.0
        with pytest.raises(NoQuotes) as failure:
            running.result.result(timeout=PATIENCE_SECONDS)
    assert str(failure.value) == f"no quote came from {server.url} in 60 s: {said}"
    assert all(each[-1].end for each in clocks(config))


def test_missing_topics_are_told_before_anything_is_asked_of_the_exchange(kafka: Kafka, prefix: str) -> None:
    with exchange(sends()) as server, pytest.raises(MissingTopics):
        live.run(KafkaConfig(kafka.bootstrap, prefix), LiveSettings("coinbase", ["BTC-USD"], server.url))
    assert server.attempts == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"source": "nyse"}, "--source nyse: give binance, coinbase, kraken"),
        ({"symbols": []}, "no symbols"),
        ({"symbols": ["BTCUSD"]}, "write BASE-QUOTE"),
        ({"symbols": [f"S{i}-USD" for i in range(2000)]}, "a second feed"),
        ({"url": "http://localhost"}, "ws://"),
        ({"url": "ws://"}, "ws://"),
        ({"url": "ws://.example.com"}, "--url"),
        ({"seconds": 0.0}, "--seconds"),
        ({"stall_seconds": float("nan")}, "--stall"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(BadConfiguration, match=said):
        LiveSettings(**{"source": "coinbase", "symbols": ["BTC-USD"], **settings})


def test_symbols_are_published_under_one_name() -> None:
    assert LiveSettings("coinbase", ["btc-usd", "BTC/USD", "ETH-USD"]).names == ["BTC-USD", "ETH-USD"]
    assert LiveSettings("kraken", ["AAPLx/USD"]).names == ["AAPLx-USD"]


def started(config: KafkaConfig, server: ExchangeServer, *options: str) -> subprocess.Popen[str]:
    """The command, as a process of its own."""
    command = [sys.executable, "-m", "agents.cli", "feed", "live", "--source", "coinbase", "--url", server.url]
    place = ["--bootstrap", config.bootstrap, "--prefix", config.prefix, "BTC-USD"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MM_")}
    return subprocess.Popen(
        [*command, *options, *place], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


@pytest.mark.parametrize("refusals", [0, 1_000], ids=["connected", "unreachable"])
def test_sigterm_ends_the_command_soon_and_with_0(config: KafkaConfig, refusals: int) -> None:
    with exchange(sends(say.coinbase_ticker(1)), refusals=refusals) as server:
        process = started(config, server)
        try:
            wait_for(lambda: all(clocks(config)), "clocks")
            if not refusals:
                wait_for(lambda: len(sent(config)) == 1, "a quote")
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=PATIENCE_SECONDS)
            assert time.monotonic() - began < SOON_SECONDS
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0
    assert "0 reconnects, 0 stalls, 0 gaps" in output
    assert all(each[-1].end for each in clocks(config))


def test_the_command_that_got_no_quote_ends_with_1_and_one_line(config: KafkaConfig) -> None:
    with exchange(sends()) as server:
        process = started(config, server, "--seconds", "1")
        output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, output) == (1, "")
    assert [line for line in errors.splitlines() if line.startswith("mm: ")] == [
        f"mm: no quote came from {server.url} in 1 s: it sent 0 messages, of which 0 cannot be read"
    ]
