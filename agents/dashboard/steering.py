"""Changes of controls from the page: the operator's own functions, off the event loop, refused in read-only mode."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from agents.controls import operator
from agents.controls.operator import Written
from agents.dashboard.settings import DashboardSettings
from agents.stream.background import in_background
from agents.stream.config import KafkaConfig
from agents.stream.errors import StreamError
from schemas.controls import InvalidControl, check_symbol
from schemas.records import EVERY_SYMBOL, State

log = logging.getLogger(__name__)

EDITABLE = (
    "state",
    "max_position_dollars",
    "lot_shares",
    "max_loss_dollars",
    "allow_short",
    "min_fill_shares",
    "size_step",
)
CHOICES = {"state": [state.value for state in State]}


class Refused(Exception):
    """A change that was not made; the text says why."""


class Steering:
    """What a page may do to controls. Every method raises Refused.

    Changes of one key are made one after the other, as a change of one field reads the others first. A halt waits for
    none of them, and comes after all that were asked for before it.
    """

    def __init__(self, config: KafkaConfig, settings: DashboardSettings) -> None:
        self._config = config
        self._seconds = settings.decision_seconds
        self._read_only = settings.read_only
        self._lines: dict[str, _Line] = {}
        self._halting: set[asyncio.Task[None]] = set()

    async def edit(self, symbol: str, column: str, value: object) -> Written:
        """Set one field of a control, whatever the others are by now."""
        if column not in EDITABLE:
            raise Refused(f"{column} cannot be edited")
        if symbol == EVERY_SYMBOL:
            return await self._edit_all(column, value)
        if column != "state":
            return await self._do(symbol, operator.set_control, symbol, {column: value})
        if value == State.HALTED:
            return await self._halt(symbol)
        return await self._do(symbol, operator.set_state, symbol, value)

    async def add(self, symbol: str, max_position_dollars: object, lot_shares: object) -> Written:
        """Take a symbol into the universe."""
        try:
            check_symbol(symbol)
        except InvalidControl as error:
            raise Refused(str(error)) from error
        if symbol in await self._held():
            raise Refused(f"{symbol} is there already: edit its row")
        changes = {"max_position_dollars": max_position_dollars, "lot_shares": lot_shares}
        given = {name: value for name, value in changes.items() if value is not None}
        return await self._do(symbol, operator.set_control, symbol, given)

    async def remove(self, symbol: str) -> Written:
        """Take a symbol out of the universe, or lift what bounds all of them."""
        if symbol == EVERY_SYMBOL:
            return await self.resume_all()
        return await self._do(symbol, operator.remove, symbol)

    async def halt_all(self) -> Written:
        """Halt every symbol, whatever its own control says."""
        return await self._halt(EVERY_SYMBOL)

    async def resume_all(self) -> Written:
        """Lift what bounds every symbol."""
        return await self._do(EVERY_SYMBOL, operator.resume_all)

    async def _edit_all(self, column: str, value: object) -> Written:
        if column != "state":
            raise Refused("the control of all symbols has a state only")
        if value == State.HALTED:
            return await self.halt_all()
        raise Refused("all symbols can be halted, or resumed by removing this row")

    async def _held(self) -> dict[str, Any]:
        try:
            return await asyncio.wrap_future(in_background("controls", lambda: operator.read_controls(self._config)))
        except StreamError as error:
            raise Refused(str(error)) from error

    async def _do(self, key: str, change: Callable[..., Written], *arguments: object) -> Written:
        line = self._lines.setdefault(key, _Line())
        async with line.turn:
            line.begin()
            return await self._make(change, *arguments, self._seconds, line.send)

    async def _halt(self, key: str) -> Written:
        before, line = self._lines.get(key), _Line()
        if before is not None:
            before.closed = True
        # What is asked for from now on stands in a line of its own, behind the halt.
        self._lines[key] = line
        await line.turn.acquire()
        try:
            return await self._write_halt(key)
        finally:
            if before is not None and before.turn.locked():
                task = asyncio.create_task(self._halt_once_more(key, before, line))
                self._halting.add(task)
                task.add_done_callback(self._halting.discard)
            else:
                line.turn.release()

    async def _halt_once_more(self, key: str, before: _Line, line: _Line) -> None:
        """Behind a change that was on its way to the broker when the halt came: either may have got there first."""
        try:
            async with before.turn:
                if before.sent:
                    await self._write_halt(key)
        except Refused as refused:
            log.error("%s may not be halted, a change that came before the halt was written late: %s", key, refused)
        finally:
            line.turn.release()

    async def _write_halt(self, key: str) -> Written:
        if key == EVERY_SYMBOL:
            return await self._make(operator.halt_all, self._seconds)
        # Now: it must not wait for the time of the control that it is based on.
        return await self._make(operator.set_state, key, State.HALTED, self._seconds)

    async def _make(self, change: Callable[..., Written], *arguments: object) -> Written:
        if self._read_only:
            raise Refused("this dashboard is read-only")
        try:
            # In a thread of its own: however many hang, the next has one.
            written = await asyncio.wrap_future(in_background("change", lambda: change(self._config, *arguments)))
        except Refused:
            raise
        except StreamError as error:
            raise Refused(str(error)) from error
        except Exception as error:
            log.exception("a change of controls failed")
            raise Refused(f"unexpected {type(error).__name__}: {error}; see the dashboard's log") from error
        log.info("%s version %d: %s; %s", written.key, written.version, written.control, written.holds)
        return written


class _Line:
    """Changes of one key that wait for their turn. A halt closes it: what has not been sent by then is refused."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.closed = False
        self.sent = False

    def begin(self) -> None:
        """The next change has its turn. Raises Refused."""
        self._refuse_if_closed()
        self.sent = False

    def send(self) -> None:
        """It is about to be written. Raises Refused."""
        self._refuse_if_closed()
        self.sent = True

    def _refuse_if_closed(self) -> None:
        if self.closed:
            raise Refused("a halt was asked for after it")
