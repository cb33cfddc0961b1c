"""One exchange's connection and its successors, from a server that plays the exchange; no Kafka."""

import contextlib
import logging
import math
from collections.abc import Iterator

import pytest
from websockets.sync.server import ServerConnection

from agents.feeds.attempts import Backoff
from agents.feeds.exchanges import EXCHANGES
from agents.feeds.inbox import Inbox
from agents.feeds.receiver import Patience, Receiver
from agents.stream.errors import BadConfiguration
from tests.feeds import exchange_messages as say
from tests.feeds.exchange_server import ExchangeServer, exchange, sends, sends_and_drops
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
    receiver = Receiver(EXCHANGES[source], server.url, symbols, patience, Inbox(0))
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.close()


def test_a_silent_symbol_is_told_while_others_are_busy(caplog: pytest.LogCaptureFixture) -> None:
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
        receiving(server, "binance", "FOO-USDT", stall_seconds=0.3, silent_seconds=0.1) as receiver,
    ):
        wait_until(lambda: receiver.counts.stalls == 3, "three stalls")
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
        receiving(server, "coinbase", "BTC-USD", backoff=Noted(longest=longest)) as receiver,
    ):
        wait_until(lambda: len(counted) >= 4, "four connections lost")
    assert counted[:4] == failures
    assert receiver.counts.quotes >= 4


def test_a_symbol_that_coinbase_never_served_is_refused_though_others_are_served() -> None:
    with (
        exchange(sends(say.coinbase_ticker(1), say.coinbase_refusal("FOO-USD"))) as server,
        receiving(server, "coinbase", "BTC-USD", "FOO-USD") as receiver,
    ):
        wait_until(lambda: receiver.failure is not None, "the refusal")
    assert isinstance(receiver.failure, BadConfiguration)
    assert "FOO-USD is not a valid product" in str(receiver.failure)


def test_a_symbol_that_coinbase_no_longer_serves_leaves_the_others_alone(caplog: pytest.LogCaptureFixture) -> None:
    plays = (
        sends_and_drops(say.coinbase_ticker(1), say.coinbase_ticker(1, "ETH-USD")),
        sends(say.coinbase_refusal("ETH-USD"), say.coinbase_ticker(2)),
    )
    with exchange(*plays) as server, receiving(server, "coinbase", "BTC-USD", "ETH-USD") as receiver:
        wait_until(lambda: receiver.counts.quotes == 3, "a quote after the refusal")
    assert receiver.counts.attempts == 2
    assert "no longer serves ETH-USD" in caplog.text


@pytest.mark.parametrize("source", ["coinbase", "binance"])
def test_an_exchange_that_counts_anew_within_a_connection_is_not_left_out_for_ever(source: str) -> None:
    def message(number: int) -> bytes:
        return say.coinbase_ticker(number) if source == "coinbase" else say.binance_book_ticker(number)

    symbol = "BTC-USD" if source == "coinbase" else "BTC-USDT"
    plays = (sends(message(1000), *(message(number) for number in range(1, 30))), sends(message(30)))
    with exchange(*plays) as server, receiving(server, source, symbol) as receiver:
        wait_until(lambda: receiver.counts.quotes == 2, "a quote of the second connection")
    assert (receiver.counts.out_of_order, receiver.counts.attempts) == (20, 2)
