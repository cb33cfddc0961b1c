"""Frames to pages: encoded once, snapshots for those who are new or slow."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from agents.dashboard.board import Board
from agents.dashboard.hub import FRAMES_KEPT, Hub
from agents.stream.errors import NoBroker
from tests.dashboard.loops import in_own_loop


class FakeSocket:
    """A page: says what it is told to say, keeps what it gets, takes nothing while `open` is not set."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()
        self._says: asyncio.Queue[str] = asyncio.Queue()

    def say(self, **wish: object) -> None:
        self._says.put_nowait(json.dumps(wish))

    async def receive_text(self) -> str:
        return await self._says.get()

    async def send_text(self, data: str) -> None:
        await self.open.wait()
        self.got.append(json.loads(data))


class FakeBoard(Board):
    """A board whose snapshots are counted."""

    def __init__(self) -> None:
        super().__init__("", 900, 10)
        self.snapshots: list[str] = []

    def snapshot(self, channel: str) -> bytes:
        self.snapshots.append(channel)
        return b'{"all":%d}' % len(self.snapshots)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def session_of(symbol: str) -> bytes:
    return b'{"all":"session"}'


def trial(
    work: Callable[[Hub, FakeBoard], Awaitable[None]], session: Callable[[str], Awaitable[bytes]] = session_of
) -> None:
    async def run() -> None:
        board = FakeBoard()
        hub = Hub(board, session)
        hub.start()
        await work(hub, board)

    in_own_loop(run())


def test_page_gets_a_snapshot_first_then_the_changes_of_what_it_shows() -> None:
    async def work(hub: Hub, board: FakeBoard) -> None:
        page = FakeSocket()
        task = asyncio.create_task(hub.serve(page))
        page.say(channels=["pnl"])
        await settled()
        hub.emit({"pnl": b'{"put":[1]}', "orders": b'{"put":[2]}'}, False)
        await settled()
        assert page.got == [{"pnl": {"all": 1}}, {"pnl": {"put": [1]}}]
        assert hub.wanted() == {"pnl"}
        task.cancel()

    trial(work)


def test_frame_is_the_same_bytes_for_every_page() -> None:
    async def work(hub: Hub, board: FakeBoard) -> None:
        pages = [FakeSocket() for _ in range(5)]
        tasks = [asyncio.create_task(hub.serve(page)) for page in pages]
        for page in pages:
            page.say(channels=["pnl"])
        await settled()
        hub.emit({"pnl": b'{"put":[1]}'}, False)
        await settled()
        assert all(page.got[-1] == {"pnl": {"put": [1]}} for page in pages)
        assert hub.wanted() == {"pnl"}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert hub.wanted() == set()

    trial(work)


def test_page_that_falls_behind_gets_a_snapshot_instead_of_what_it_missed() -> None:
    async def work(hub: Hub, board: FakeBoard) -> None:
        slow, quick = FakeSocket(), FakeSocket()
        tasks = [asyncio.create_task(hub.serve(page)) for page in (slow, quick)]
        for page in (slow, quick):
            page.say(channels=["pnl"])
        await settled()
        slow.open.clear()
        for number in range(3 * FRAMES_KEPT):
            hub.emit({"pnl": b'{"put":[%d]}' % number}, False)
            await settled()
        board.snapshots.clear()
        slow.open.set()
        await settled()
        assert [message["pnl"] for message in quick.got[1:]] == [{"put": [n]} for n in range(3 * FRAMES_KEPT)]
        assert slow.got[-1] == {"pnl": {"all": 1}}
        assert len(slow.got) == 3  # the first snapshot, the frame that was on its way, the second snapshot
        for task in tasks:
            task.cancel()

    trial(work)


def test_every_page_starts_over_when_the_topics_are_read_anew() -> None:
    async def work(hub: Hub, board: FakeBoard) -> None:
        page = FakeSocket()
        task = asyncio.create_task(hub.serve(page))
        page.say(channels=["pnl"])
        await settled()
        hub.emit({"pnl": b'{"put":[1]}'}, True)
        await settled()
        assert page.got == [{"pnl": {"all": 1}}, {"pnl": {"all": 2}}]
        task.cancel()

    trial(work)


def test_session_comes_to_the_page_that_asked_for_it() -> None:
    async def work(hub: Hub, board: FakeBoard) -> None:
        one, two = FakeSocket(), FakeSocket()
        tasks = [asyncio.create_task(hub.serve(page)) for page in (one, two)]
        for page in (one, two):
            page.say(channels=["plot:AAPL"])
        await settled()
        one.say(session="AAPL")
        await settled()
        assert one.got[-1] == {"plot:AAPL": {"all": "session"}}
        assert len(two.got) == 1
        one.say(session='A"B')
        await settled()
        assert one.got[-1] == {'plot:A"B': {"all": "session"}}
        for task in tasks:
            task.cancel()

    trial(work)


def test_page_has_one_session_read_at_a_time_and_none_when_it_has_gone() -> None:
    begun, ended = [], []

    async def endless(symbol: str) -> bytes:
        begun.append(symbol)
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            ended.append(symbol)

    async def work(hub: Hub, board: FakeBoard) -> None:
        page = FakeSocket()
        task = asyncio.create_task(hub.serve(page))
        for symbol in ("AAPL", "AAPL", "GOOG"):
            page.say(session=symbol)
            await settled()
        assert (begun, ended) == (["AAPL", "GOOG"], ["AAPL"])
        task.cancel()
        await settled()
        assert ended == ["AAPL", "GOOG"]

    trial(work, endless)


def test_page_is_told_why_it_gets_no_session() -> None:
    async def failing(symbol: str) -> bytes:
        raise NoBroker("nobody is there") if symbol == "AAPL" else KeyError("price")

    async def work(hub: Hub, board: FakeBoard) -> None:
        page = FakeSocket()
        task = asyncio.create_task(hub.serve(page))
        for symbol in ("AAPL", "GOOG"):
            page.say(session=symbol)
            await settled()
        assert page.got == [
            {"trouble": "The session of AAPL: nobody is there"},
            {"trouble": "The session of GOOG: unexpected KeyError: 'price'; see the dashboard's log"},
        ]
        task.cancel()

    trial(work, failing)
