"""A TCP proxy between agents and broker that can be told to misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from enum import StrEnum

HOST = "127.0.0.1"
_CHUNK = 1 << 16
_START_SECONDS = 10.0
_LATE_CLOSE_SECONDS = 4.0


class Trouble(StrEnum):
    """How a proxy treats its connections while it is in trouble.

    LATENCY: every piece waits before it goes on; THROTTLE: few bytes a second; CUT: connections are closed in order,
    new ones at once; RESET: connections are reset once, new ones work; HALF_OPEN: connections stay and nothing goes
    through, afterwards they are reset, as what was on its way is lost; DEAF: as HALF_OPEN, but requests reach the
    broker and only its answers are lost; SLOW_CLOSE: the broker's side is closed at once, the agent's
    side seconds later.
    """

    LATENCY = "latency"
    THROTTLE = "throttle"
    CUT = "cut"
    RESET = "reset"
    HALF_OPEN = "half-open"
    DEAF = "deaf"
    SLOW_CLOSE = "slow-close"


class Proxy:
    """Listens on `port` and passes everything on to `target`, from `start` to `stop`, in a thread of its own."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._trouble: Trouble | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"proxy-{port}", daemon=True)

    def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._thread.start()
        self._started.wait(_START_SECONDS)
        if self._server is None:
            raise OSError(f"the proxy cannot listen on {HOST}:{self.port}")

    def stop(self) -> None:
        """Close every connection and the port."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_SECONDS)

    def begin(self, trouble: Trouble) -> None:
        """Misbehave until `heal`."""
        self._call(lambda: self._begin(trouble))

    def heal(self) -> None:
        """Behave again."""
        self._call(self._heal)

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._links)

    # -- in the loop's thread ------------------------------------------------------------------------------------

    def _call(self, step: Callable[[], None]) -> None:
        done = threading.Event()

        def call() -> None:
            step()
            done.set()

        self._loop.call_soon_threadsafe(call)
        done.wait(_START_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            with contextlib.suppress(OSError):
                self._server = self._loop.run_until_complete(asyncio.start_server(self._accept, HOST, self.port))
            self._started.set()
            if self._server is not None:
                self._loop.run_forever()
        finally:
            for link in list(self._links):
                link.reset()
            if self._server is not None:
                self._server.close()
            pending = asyncio.all_tasks(self._loop)
            for task in pending:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
            self._loop.close()

    def _begin(self, trouble: Trouble) -> None:
        self._trouble = None if trouble is Trouble.RESET else trouble
        for link in list(self._links):
            if trouble in (Trouble.RESET, Trouble.CUT, Trouble.SLOW_CLOSE):
                link.end(trouble)

    def _heal(self) -> None:
        healed, self._trouble = self._trouble, None
        if healed in (Trouble.HALF_OPEN, Trouble.DEAF):
            for link in list(self._links):
                link.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._trouble in (Trouble.CUT, Trouble.SLOW_CLOSE):
            writer.close()
            return
        try:
            there_reader, there_writer = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, there_writer)
        self._links.add(link)
        try:
            await asyncio.gather(self._pump(reader, there_writer, False), self._pump(there_reader, writer, True))
        except (OSError, asyncio.CancelledError):
            pass  # one side is gone, and with it the connection
        finally:
            await link.close()
            self._links.discard(link)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool) -> None:
        while piece := await reader.read(_CHUNK):
            if self._trouble is Trouble.LATENCY:
                await asyncio.sleep(0.15)
            elif self._trouble is Trouble.THROTTLE:
                await asyncio.sleep(len(piece) / 200_000)
            if self._trouble is Trouble.HALF_OPEN or (self._trouble is Trouble.DEAF and answers):
                continue
            writer.write(piece)
            await writer.drain()
        # The other direction ends with it: no Kafka client goes on reading after it has closed.
        raise ConnectionAbortedError


class _Link:
    """The two sides of one connection."""

    def __init__(self, agent: asyncio.StreamWriter, broker: asyncio.StreamWriter) -> None:
        self._agent = agent
        self._broker = broker
        self._late_seconds = 0.0

    def end(self, trouble: Trouble) -> None:
        """End the connection in the way of a trouble."""
        if trouble is Trouble.RESET:
            self.reset()
        elif trouble is Trouble.CUT:
            self._agent.close()
            self._broker.close()
        else:
            self._late_seconds = _LATE_CLOSE_SECONDS
            self._broker.close()

    def reset(self) -> None:
        """Reset both sides."""
        for writer in (self._agent, self._broker):
            _linger_none(writer)
            writer.transport.abort()

    async def close(self) -> None:
        """Close what is left of it."""
        self._broker.close()
        if self._late_seconds:
            await asyncio.sleep(self._late_seconds)
        self._agent.close()


def _linger_none(writer: asyncio.StreamWriter) -> None:
    """Make the next close of this connection a reset (RST)."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
