"""Reads of a symbol's whole session for pages: few at once, given up when nobody waits any more."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable

_AT_ONCE = 2

Read = Callable[[str, Callable[[], None]], bytes]
"""Reads a symbol's session; calls what it is given now and then, and lets pass what that raises."""


class GivenUp(Exception):
    """Nobody waits for this session any more."""


class Sessions:
    """Runs `read` in threads of its own, the event loop's are for changes of controls.

    Not a pool: the end of the process would wait for its threads, whatever they wait for.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def read(self, symbol: str) -> bytes:
        """What `read` returns or raises, once it is this one's turn. It is given up when the caller is cancelled."""
        await self._turns.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        given_up = threading.Event()

        def beat() -> None:
            if given_up.is_set():
                raise GivenUp

        def end(fragment: bytes, error: Exception | None) -> None:
            # Only now: one that was given up may still wait for the broker.
            self._turns.release()
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(fragment)

        def work() -> None:
            fragment, failure = b"", None
            try:
                fragment = self._read(symbol, beat)
            except Exception as error:
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody is left to tell
                loop.call_soon_threadsafe(end, fragment, failure)

        threading.Thread(target=work, name="dashboard-session", daemon=True).start()
        try:
            return await answer
        finally:
            given_up.set()
