"""One exchange's connection and its successors, from a server that plays the exchange; no Kafka."""

import contextlib
import logging
import math
import queue
import threading
from collections.abc import Iterator

import pytest
from websockets.sync.server import ServerConnection

from agents.feeds import receiver
from agents.feeds.attempts import Backoff
from agents.feeds.exchanges import EXCHANGES
from agents.feeds.inbox import Inbox
from agents.feeds.receiver import Patience, Receiver
from agents.stream.errors import BadConfiguration
from tests.feeds import exchange_messages as say
from tests.feeds.exchange_server import ExchangeServer, exchange, falls_dumb, sends, sends_and_drops, stays_open
from tests.feeds.hand_clock import HandClock
from tests.integration.pipeline import wait_until

AT_ONCE = Backoff(0.0, 0.0)


@contextlib.contextmanager
def receiving(
    server: ExchangeServer,
    source: str,
    *symbols: str,
    stall_seconds: float = 60.0,
    silent_seconds: float = 60.0,
    backoff: Backoff = AT_ONCE,
) -> Iterator[Receiver]:
    patience = Patience(stall_seconds, silent_seconds, backoff)
    running = Receiver(EXCHANGES[source], server.url, symbols, patience, Inbox(0))
    running.start()
    try:
        yield running
    finally:
        running.close()


def come(running: Receiver, messages: int) -> None:
    wait_until(lambda: running.counts.messages == messages, f"{messages} messages")


def test_heartbeats_keep_a_connection_and_their_end_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = HandClock()
    monkeypatch.setattr(receiver, "time", clock)
    beats = queue.SimpleQueue[bytes]()

    def beats_on_demand(server: ExchangeServer, connection: ServerConnection) -> None:
        while not server.closing.is_set():
            with contextlib.suppress(queue.Empty):
                connection.send(beats.get(timeout=0.05))

    with (
        exchange(beats_on_demand) as server,
        receiving(server, "kraken", "BTC-USD", stall_seconds=10.0) as running,
    ):
        for beat in range(1, 6):
            beats.put(say.KRAKEN_HEARTBEAT)
            come(running, beat)
            clock.now += 6.0
        assert (running.counts.attempts, running.counts.stalls) == (1, 0)
        clock.now += 6.0
        wait_until(lambda: running.counts.attempts == 2, "another connection")
    assert running.counts.stalls == 1


def test_a_silence_that_pings_outlast_is_none_for_binance(monkeypatch: pytest.MonkeyPatch) -> None:
    """It sends nothing while no book changes, for minutes with symbols that are hardly traded."""
    clock = HandClock()
    monkeypatch.setattr(receiver, "time", clock)
    waited = threading.Event()

    def quotes_on_demand(server: ExchangeServer, connection: ServerConnection) -> None:
        connection.send(say.binance_book_ticker(1))
        waited.wait()
        connection.send(say.binance_book_ticker(2))
        stays_open(server, connection)

    quiet = EXCHANGES["binance"].stall_seconds
    with (
        exchange(quotes_on_demand) as server,
        receiving(server, "binance", "BTC-USDT", stall_seconds=quiet) as running,
    ):
        come(running, 1)
        clock.now += 600.0
        before = clock.reads
        wait_until(lambda: clock.reads >= before + 4, "looks for a stall")
        waited.set()
        come(running, 2)
    assert (running.counts.attempts, running.counts.stalls) == (1, 0)


def test_a_server_that_answers_no_ping_is_left_long_before_its_silence_is_a_stall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(receiver._CONNECTION, "ping_interval", 0.1)
    monkeypatch.setitem(receiver._CONNECTION, "ping_timeout", 0.1)
    with (
        exchange(falls_dumb(say.binance_book_ticker(1)), sends(say.binance_book_ticker(2))) as server,
        receiving(server, "binance", "BTC-USDT", stall_seconds=math.inf) as running,
    ):
        wait_until(lambda: running.counts.quotes >= 2, "a quote of another connection")
    assert running.counts.stalls == 0
    assert running.trouble is not None and "keepalive ping timeout" in running.trouble


def test_a_silent_symbol_is_told_while_others_are_busy(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "_TICK_SECONDS", 600.0)  # so busy that no wait for a message is ever over

    def chatters(server: ExchangeServer, connection: ServerConnection) -> None:
        update = 0
        while not server.closing.wait(0.005):
            update += 1
            connection.send(say.binance_book_ticker(update))

    with (
        caplog.at_level(logging.WARNING, logger="agents.feeds"),
        exchange(chatters) as server,
        receiving(server, "binance", "BTC-USDT", "FOO-USDT", silent_seconds=0.3),
    ):
        wait_until(lambda: "no quote of FOO-USDT yet" in caplog.text, "the warning")


def test_a_symbol_that_does_not_come_back_after_a_reconnect_is_told(caplog: pytest.LogCaptureFixture) -> None:
    plays = (
        sends_and_drops(say.kraken_ticker("BTC/USD"), say.kraken_ticker("ETH/USD")),
        sends(say.kraken_ticker("BTC/USD")),
    )
    with (
        caplog.at_level(logging.WARNING, logger="agents.feeds"),
        exchange(*plays) as server,
        receiving(server, "kraken", "BTC-USD", "ETH-USD", silent_seconds=0.3),
    ):
        wait_until(lambda: "no quote of ETH-USD yet on this connection" in caplog.text, "the warning")


def test_one_silence_is_told_once_over_all_connections(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING, logger="agents.feeds"),
        exchange(sends()) as server,
        receiving(server, "binance", "FOO-USDT", stall_seconds=0.3, silent_seconds=0.1) as running,
    ):
        wait_until(lambda: running.counts.stalls == 3, "three stalls")
    assert caplog.text.count("no quote of FOO-USDT") == 1


@pytest.mark.parametrize(("longest", "failures"), [(math.inf, [1, 2, 3, 4]), (0.0, [1, 1, 1, 1])])
def test_only_a_connection_that_held_makes_the_next_delay_short(longest: float, failures: list[int]) -> None:
    """Not its quotes: an exchange that gives one and hangs up must not be asked twice a second."""
    counted: list[int] = []

    class Noted(Backoff):
        def seconds(self, failures: int) -> float:
            counted.append(failures)
            return 0.0

    with (
        exchange(sends_and_drops(say.coinbase_ticker(1))) as server,
        receiving(server, "coinbase", "BTC-USD", backoff=Noted(longest=longest)) as running,
    ):
        wait_until(lambda: len(counted) >= 4, "four connections lost")
    assert counted[:4] == failures
    assert running.counts.quotes >= 4


@pytest.mark.parametrize("why", ["is not a valid product", "is delisted"])
def test_a_symbol_that_coinbase_does_not_serve_is_refused_though_others_are_served(why: str) -> None:
    with (
        exchange(sends(say.coinbase_ticker(1), say.coinbase_refusal("FOO-USD", why))) as server,
        receiving(server, "coinbase", "BTC-USD", "FOO-USD") as running,
    ):
        wait_until(lambda: running.failure is not None, "the refusal")
    assert isinstance(running.failure, BadConfiguration)
    assert f"FOO-USD {why}" in str(running.failure)


def test_a_symbol_that_coinbase_no_longer_serves_leaves_the_others_alone(caplog: pytest.LogCaptureFixture) -> None:
    plays = (
        sends_and_drops(say.coinbase_ticker(1), say.coinbase_ticker(1, "ETH-USD")),
        sends(say.coinbase_refusal("ETH-USD"), say.coinbase_ticker(2)),
    )
    with exchange(*plays) as server, receiving(server, "coinbase", "BTC-USD", "ETH-USD") as running:
        wait_until(lambda: running.counts.quotes == 3, "a quote after the refusal")
    assert running.counts.attempts == 2
    assert "no longer serves ETH-USD" in caplog.text


def test_a_subscription_that_has_died_behind_its_heartbeats_is_made_anew() -> None:
    plays = (
        sends(say.coinbase_ticker(1), *(say.coinbase_heartbeat(trade) for trade in range(2, 40))),
        sends(say.coinbase_ticker(40)),
    )
    with exchange(*plays) as server, receiving(server, "coinbase", "BTC-USD") as running:
        wait_until(lambda: running.counts.quotes == 2, "a quote of the second connection")
    assert (running.counts.gaps, running.counts.attempts) == (21, 2)


@pytest.mark.parametrize("source", ["coinbase", "binance"])
def test_an_exchange_that_counts_anew_within_a_connection_is_not_left_out_for_ever(source: str) -> None:
    def message(number: int) -> bytes:
        return say.coinbase_ticker(number) if source == "coinbase" else say.binance_book_ticker(number)

    symbol = "BTC-USD" if source == "coinbase" else "BTC-USDT"
    plays = (sends(message(1000), *(message(number) for number in range(1, 30))), sends(message(30)))
    with exchange(*plays) as server, receiving(server, source, symbol) as running:
        wait_until(lambda: running.counts.quotes == 2, "a quote of the second connection")
    assert (running.counts.out_of_order, running.counts.attempts) == (20, 2)
