"""Reads of whole sessions: how many at once, and that nobody else waits for them."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from agents.dashboard.sessions import GivenUp, Sessions
from tests.dashboard.loops import in_own_loop
from tests.dashboard.serving import ROOT
from tests.integration.pipeline import wait_until


class Reading:
    """A read that goes on until it is let go or given up; it counts."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.at_work: set[str] = set()
        self.begun: list[str] = []
        self.given_up: list[str] = []

    def __call__(self, symbol: str, beat: Callable[[], None]) -> bytes:
        self.at_work.add(symbol)
        self.begun.append(symbol)
        try:
            while not self.go_on.wait(0.01):
                beat()
        except GivenUp:
            self.given_up.append(symbol)
            raise
        finally:
            self.at_work.discard(symbol)
        return symbol.encode()


async def until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, condition, "the threads")


def test_two_sessions_are_read_at_once_and_the_others_wait_for_them() -> None:
    async def work() -> None:
        reading = Reading()
        sessions = Sessions(reading)
        tasks = [asyncio.create_task(sessions.read(f"S{n}")) for n in range(5)]
        await until(lambda: len(reading.at_work) == 2)
        assert reading.begun == ["S0", "S1"]
        reading.go_on.set()
        assert await asyncio.gather(*tasks) == [b"S0", b"S1", b"S2", b"S3", b"S4"]

    in_own_loop(work())


def test_session_that_nobody_waits_for_is_given_up_and_the_next_begins() -> None:
    async def work() -> None:
        reading = Reading()
        sessions = Sessions(reading)
        tasks = [asyncio.create_task(sessions.read(f"S{n}")) for n in range(3)]
        await until(lambda: len(reading.at_work) == 2)
        tasks[0].cancel()
        await until(lambda: reading.at_work == {"S1", "S2"})
        assert reading.given_up == ["S0"]
        reading.go_on.set()
        assert await asyncio.gather(*tasks[1:]) == [b"S1", b"S2"]

    in_own_loop(work())


def test_what_goes_wrong_in_a_read_is_raised_and_its_turn_is_over() -> None:
    def read(symbol: str, beat: Callable[[], None]) -> bytes:
        raise KeyError(symbol)

    async def work() -> None:
        sessions = Sessions(read)
        for symbol in ("AAPL", "GOOG", "BAC"):
            with pytest.raises(KeyError, match=symbol):
                await sessions.read(symbol)

    in_own_loop(work())


def test_sessions_leave_the_event_loops_threads_to_changes_of_controls() -> None:
    async def work() -> None:
        reading = Reading()
        sessions = Sessions(reading)
        tasks = [asyncio.create_task(sessions.read(f"S{n}")) for n in range(100)]
        await until(lambda: len(reading.at_work) == 2)
        assert await asyncio.to_thread(lambda: len(reading.at_work)) == 2
        for task in tasks:
            task.cancel()
        await until(lambda: not reading.at_work)

    in_own_loop(work())


def test_end_of_the_process_waits_for_no_session() -> None:
    program = (
        "import asyncio, threading\n"
        "from agents.dashboard.sessions import Sessions\n"
        "begun = threading.Event()\n"
        "def read(symbol, beat):\n"
        "    begun.set()\n"
        "    threading.Event().wait()\n"
        "async def main():\n"
        "    task = asyncio.create_task(Sessions(read).read('AAPL'))\n"
        "    await asyncio.to_thread(begun.wait)\n"
        "    task.cancel()\n"
        "asyncio.run(main())\n"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60, check=False).returncode == 0
