"""A websocket server on this machine that plays an exchange: what it does on each connection is written down before."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

Play = Callable[["ExchangeServer", ServerConnection], None]


class ExchangeServer:
    """Plays one script a connection, the last one for all that follow; the first handshakes may be refused.

    requests: what clients sent, by connection. attempts: when they came, refused ones too (time.monotonic).
    """

    def __init__(self, plays: Sequence[Play], refusals: int = 0, retry_after: str | None = None) -> None:
        self.requests: list[list[Any]] = []
        self.attempts: list[float] = []
        self.closing = threading.Event()
        self._plays = plays
        self._refusals = refusals
        self._retry_after = retry_after
        self._lock = threading.Lock()
        self.url = ""

    def handle(self, connection: ServerConnection) -> None:
        with self._lock:
            play = self._plays[min(len(self.requests), len(self._plays) - 1)]
            received: list[Any] = []
            self.requests.append(received)
        with contextlib.suppress(ConnectionClosed):
            received.append(orjson.loads(connection.recv(timeout=20)))
            play(self, connection)

    def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        with self._lock:
            self.attempts.append(time.monotonic())
            if len(self.attempts) > self._refusals:
                return None
        response = connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "slow down\n")
        if self._retry_after is not None:
            response.headers["Retry-After"] = self._retry_after
        return response


def sends(*messages: bytes) -> Play:
    """Send these, then stay open and silent."""

    def play(server: ExchangeServer, connection: ServerConnection) -> None:
        for message in messages:
            connection.send(message)
        stays_open(server, connection)

    return play


def sends_and_drops(*messages: bytes) -> Play:
    """Send these, then cut the line, without a goodbye."""

    def play(_: ExchangeServer, connection: ServerConnection) -> None:
        for message in messages:
            connection.send(message)
        connection.socket.shutdown(2)

    return play


def falls_dumb(*messages: bytes) -> Play:
    """Send these, then nothing at all, no answer to a ping either."""

    def play(server: ExchangeServer, connection: ServerConnection) -> None:
        for message in messages:
            connection.send(message)
        connection.protocol.send_frame = lambda _: None  # type: ignore[method-assign]
        stays_open(server, connection)

    return play


def stays_open(server: ExchangeServer, connection: ServerConnection) -> None:
    """Say nothing until the client or the test ends."""
    while not server.closing.is_set():
        with contextlib.suppress(TimeoutError):
            connection.recv(timeout=0.05)


@contextlib.contextmanager
def exchange(*plays: Play, refusals: int = 0, retry_after: str | None = None) -> Iterator[ExchangeServer]:
    """A server for a `with` block, on a free port of this machine."""
    server = ExchangeServer(plays, refusals, retry_after)
    with serve(server.handle, "127.0.0.1", 0, process_request=server.admit) as listening:
        server.url = f"ws://127.0.0.1:{listening.socket.getsockname()[1]}"
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            listening.shutdown()
            thread.join()
