"""The proxy does to connections what it says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from agents.chaos.proxy import HOST, Proxy, Trouble
from deploy.ports import free_port

PATIENCE_SECONDS = 10.0
SHORT_SECONDS = 0.3


class Echo(threading.Thread):
    """Answers every connection with what it got."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.socket = socket.create_server((HOST, 0))
        self.port = self.socket.getsockname()[1]
        self.got = bytearray()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                while piece := connection.recv(1024):
                    self.got += piece
                    connection.sendall(piece)
            except OSError:
                return


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    server.start()
    yield server
    server.socket.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    between = Proxy(free_port(), echo.port)
    between.start()
    yield between
    between.stop()


def connect(proxy: Proxy) -> socket.socket:
    connection = socket.create_connection((HOST, proxy.port), timeout=PATIENCE_SECONDS)
    connection.settimeout(PATIENCE_SECONDS)
    return connection


def ask(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    return connection.recv(1024)


def test_what_goes_in_comes_out(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert ask(connection, b"one") == b"one"
        assert proxy.connections == 1


def test_reset_resets_connections_and_takes_new_ones(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert ask(connection, b"one") == b"one"
        proxy.begin(Trouble.RESET)
        with pytest.raises(ConnectionResetError):
            connection.recv(1024)
    with connect(proxy) as again:
        assert ask(again, b"two") == b"two"


def test_cut_closes_connections_and_new_ones_until_healed(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert ask(connection, b"one") == b"one"
        proxy.begin(Trouble.CUT)
        assert connection.recv(1024) == b""
    with connect(proxy) as refused:
        assert refused.recv(1024) == b""
    proxy.heal()
    with connect(proxy) as again:
        assert ask(again, b"two") == b"two"


@pytest.mark.parametrize(("trouble", "arrives"), [(Trouble.HALF_OPEN, False), (Trouble.DEAF, True)])
def test_half_open_connections_stay_silent_and_are_reset_when_healed(
    echo: Echo, proxy: Proxy, trouble: Trouble, arrives: bool
) -> None:
    with connect(proxy) as connection:
        assert ask(connection, b"one") == b"one"
        proxy.begin(trouble)
        connection.sendall(b"two")
        connection.settimeout(SHORT_SECONDS)
        with pytest.raises(TimeoutError):
            connection.recv(1024)
        assert echo.got.endswith(b"two") == arrives
        connection.settimeout(PATIENCE_SECONDS)
        proxy.heal()
        with pytest.raises(ConnectionResetError):
            connection.recv(1024)


def test_slow_close_ends_the_brokers_side_first(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert ask(connection, b"one") == b"one"
        proxy.begin(Trouble.SLOW_CLOSE)
        connection.settimeout(SHORT_SECONDS)
        with pytest.raises(TimeoutError):
            connection.recv(1024)
        connection.settimeout(PATIENCE_SECONDS)
        assert connection.recv(1024) == b""


def test_latency_only_takes_longer(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        proxy.begin(Trouble.LATENCY)
        assert ask(connection, b"one") == b"one"
