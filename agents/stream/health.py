"""/live, /ready and /metrics of one process, and the watchdog that ends it when a transaction hangs."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from agents.stream.errors import STUCK_EXIT_STATUS, BadConfiguration

log = logging.getLogger(__name__)
_CLIENT_SECONDS = 10.0
"""A client that says nothing for so long is let go."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that left before its answer is no trouble of ours; anything else is."""
        error = sys.exception()
        log.log(logging.DEBUG if isinstance(error, OSError) else logging.ERROR, "health page: %r", error)


class HealthServer:
    """Serves the three pages from a thread of its own until it is closed.

    live, ready: asked at each request; None is well, else the text that says what is wrong (status 503).
    """

    def __init__(
        self,
        host: str,
        port: int,
        live: Callable[[], str | None],
        ready: Callable[[], str | None],
        registry: CollectorRegistry,
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = _CLIENT_SECONDS

            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                if path == "/metrics":
                    self._answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)
                elif path in ("/live", "/ready"):
                    trouble = live() if path == "/live" else ready()
                    self._answer(503 if trouble else 200, f"{trouble or 'ok'}\n".encode(), "text/plain; charset=utf-8")
                else:
                    self._answer(404, b"there are /live, /ready and /metrics\n", "text/plain; charset=utf-8")

            def _answer(self, status: int, body: bytes, content_type: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                log.debug(format, *arguments)

        try:
            self._server = _Server((host, port), Handler)
        except OSError as error:
            raise BadConfiguration(f"cannot serve health pages at {host}:{port}: {error.strerror}") from error
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class Watchdog:
    """Ends the process with `STUCK_EXIT_STATUS` once `seconds_open` exceeds a limit.

    The client can hang for good in a call (confluentinc/librdkafka#5511): only the end of the process helps then.
    """

    def __init__(self, seconds_open: Callable[[], float], limit_seconds: float) -> None:
        self._seconds_open = seconds_open
        self._limit = limit_seconds
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(0.5):
            if self._seconds_open() > self._limit:
                log.error("one transaction has taken more than %.0f s: ending the process", self._limit)
                logging.shutdown()
                os._exit(STUCK_EXIT_STATUS)
