"""Frames to pages: each is encoded once, every page gets the parts that it shows, a slow page starts over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from agents.dashboard.board import PLOT, Board
from agents.stream.errors import StreamError

log = logging.getLogger(__name__)

FRAMES_KEPT = 8
_MOST_CHANNELS = 64


class Socket(Protocol):
    """What the hub needs of a WebSocket; both raise when the page has gone."""

    async def receive_text(self) -> str:
        """What the page says next."""
        ...

    async def send_text(self, data: str) -> None:
        """Say something to the page."""
        ...


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """All that a page can say: which channels it shows now, or that it wants a symbol's whole session."""

    channels: list[str] | None = None
    session: str | None = None


class Hub:
    """Pages of one board. `emit` may be called from any thread; the rest belongs to the event loop.

    session: gives a symbol's plot over the whole session.
    """

    def __init__(self, board: Board, session: Callable[[str], Awaitable[bytes]]) -> None:
        self._board = board
        self.session = session
        self._loop: asyncio.AbstractEventLoop | None = None
        self._frames: deque[tuple[int, dict[str, bytes]]] = deque(maxlen=FRAMES_KEPT)
        self._number = 0
        self._news = asyncio.Event()
        self._shown: Counter[str] = Counter()

    def start(self) -> None:
        """Called once, in the event loop."""
        self._loop = asyncio.get_running_loop()

    def wanted(self) -> set[str]:
        """Every channel that some page shows."""
        return set(self._shown.copy())

    def emit(self, frame: dict[str, bytes], anew: bool) -> None:
        """Give a frame to all pages; anew: what they have is no longer true, they get snapshots."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just been closed: nobody is left to tell
                self._loop.call_soon_threadsafe(self._publish, frame, anew)

    def _publish(self, frame: dict[str, bytes], anew: bool) -> None:
        self._number += 1
        if anew:
            # As if every page had fallen behind.
            self._frames.clear()
        else:
            self._frames.append((self._number, frame))
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def serve(self, socket: Socket) -> None:
        """One page, until it goes."""
        page = _Page(self, socket)
        reading = asyncio.create_task(page.listen())
        try:
            await page.speak(reading)
        finally:
            reading.cancel()
            page.leave()
        with contextlib.suppress(asyncio.CancelledError):
            await reading

    # -- what pages use -------------------------------------------------------------------------------------------

    def snapshot(self, channels: set[str]) -> list[bytes]:
        """Channels whole, each as a member of a JSON object."""
        with self._board.lock:
            return [_member(channel, self._board.snapshot(channel)) for channel in sorted(channels)]

    def since(self, number: int) -> tuple[int, list[dict[str, bytes]] | None, asyncio.Event]:
        """The newest number, the frames after the given one (None: some are gone), and what tells of the next."""
        frames = [frame for n, frame in self._frames if n > number]
        return self._number, frames if len(frames) == self._number - number else None, self._news

    def count(self, channels: set[str], change: int) -> None:
        """Channels that a page has begun (1) or ceased (-1) to show."""
        for channel in channels:
            self._shown[channel] += change
            if not self._shown[channel]:
                del self._shown[channel]


class _Page:
    """One open page: what it shows, and what it has yet to get."""

    def __init__(self, hub: Hub, socket: Socket) -> None:
        self._hub = hub
        self._socket = socket
        self._channels: set[str] = set()
        self._fresh: set[str] = set()
        self._wish = asyncio.Event()
        self._session: tuple[str, asyncio.Task[None]] | None = None

    async def listen(self) -> None:
        """Take the page's wishes until it goes or says what cannot be understood."""
        while True:
            wish = msgspec.json.decode(await self._socket.receive_text(), type=Wish)
            if wish.channels is not None:
                self.show(set(wish.channels[:_MOST_CHANNELS]))
                self._wish.set()
            if wish.session is not None:
                self._begin_session(wish.session)

    def show(self, channels: set[str]) -> None:
        """Change what the page shows."""
        self._hub.count(channels - self._channels, 1)
        self._hub.count(self._channels - channels, -1)
        self._fresh = (self._fresh & channels) | (channels - self._channels)
        self._channels = channels

    def leave(self) -> None:
        """Show nothing any more."""
        self.show(set())
        self._end_session()

    async def speak(self, listening: asyncio.Task[None]) -> None:
        """Send snapshots of new channels, then the changes of all, until the page goes."""
        number, _, news = self._hub.since(0)
        while not listening.done():
            if not self._fresh:
                await _first(news.wait(), self._wish.wait(), listening)
                self._wish.clear()
            number, frames, news = self._hub.since(number)
            if frames is None:
                frames, self._fresh = [], set(self._channels)
            for frame in frames:
                # A snapshot is newer than the frames, so what is fresh needs none of them.
                parts = [
                    _member(channel, frame[channel]) for channel in self._channels - self._fresh if channel in frame
                ]
                await self._send(parts)
            fresh, self._fresh = self._fresh, set()
            await self._send(self._hub.snapshot(fresh) if fresh else [])

    def _begin_session(self, symbol: str) -> None:
        """One at a time: a page shows one symbol."""
        if self._session is not None and self._session[0] == symbol and not self._session[1].done():
            return
        self._end_session()
        self._session = symbol, asyncio.create_task(self._send_session(symbol))

    def _end_session(self) -> None:
        if self._session is not None:
            self._session[1].cancel()

    async def _send_session(self, symbol: str) -> None:
        try:
            member = _member(f"{PLOT}{symbol}", await self._hub.session(symbol))
        except StreamError as error:
            member = _trouble(symbol, str(error))
        except Exception as error:
            log.exception("reading the session of %s failed", symbol)
            member = _trouble(symbol, f"unexpected {type(error).__name__}: {error}; see the dashboard's log")
        with contextlib.suppress(Exception):  # the page has gone: `speak` ends by that
            await self._send([member])

    async def _send(self, parts: list[bytes]) -> None:
        if parts:
            await self._socket.send_text((b"{" + b",".join(parts) + b"}").decode())


def _trouble(symbol: str, why: str) -> bytes:
    return _member("trouble", msgspec.json.encode(f"The session of {symbol}: {why}"))


def _member(name: str, value: bytes) -> bytes:
    return msgspec.json.encode(name) + b":" + value


async def _first(*waits: Awaitable[Any]) -> None:
    """Return when one of them is done; those that are tasks go on."""
    futures = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    for future, wait in zip(futures, waits, strict=True):
        if future is not wait:
            future.cancel()


__all__ = ["FRAMES_KEPT", "PLOT", "Hub", "Socket", "Wish"]
