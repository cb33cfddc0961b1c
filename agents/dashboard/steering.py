"""Changes of controls from the page: the operator's own functions, off the event loop, refused in read-only mode."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from agents.controls import operator
from agents.controls.operator import Written
from agents.dashboard.settings import DashboardSettings
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
    """What a page may do to controls. Every method raises Refused."""

    def __init__(self, config: KafkaConfig, settings: DashboardSettings) -> None:
        self._config = config
        self._seconds = settings.decision_seconds
        self._read_only = settings.read_only
        self._turn = asyncio.Lock()

    async def edit(self, symbol: str, column: str, value: object) -> Written:
        """Set one field of a control, whatever the others are by now."""
        if column not in EDITABLE:
            raise Refused(f"{column} cannot be edited")
        if symbol == EVERY_SYMBOL:
            return await self._edit_all(column, value)
        if column == "state":  # now: a halt must not wait for the time of the control that it is based on
            return await self._do(operator.set_state, symbol, value)
        return await self._do(operator.set_control, symbol, {column: value})

    async def add(self, symbol: str, max_position_dollars: object, lot_shares: object) -> Written:
        """Take a symbol into the universe."""
        try:
            check_symbol(symbol)
        except InvalidControl as error:
            raise Refused(str(error)) from error
        if symbol in await self._held():
            raise Refused(f"{symbol} is there already: edit its row")
        changes = {"max_position_dollars": max_position_dollars, "lot_shares": lot_shares}
        return await self._do(
            operator.set_control, symbol, {name: value for name, value in changes.items() if value is not None}
        )

    async def remove(self, symbol: str) -> Written:
        """Take a symbol out of the universe, or lift what bounds all of them."""
        if symbol == EVERY_SYMBOL:
            return await self._do(operator.resume_all)
        return await self._do(operator.remove, symbol)

    async def halt_all(self) -> Written:
        """Halt every symbol, whatever its own control says."""
        return await self._do(operator.halt_all)

    async def resume_all(self) -> Written:
        """Lift what bounds every symbol."""
        return await self._do(operator.resume_all)

    async def _edit_all(self, column: str, value: object) -> Written:
        if column != "state":
            raise Refused("the control of all symbols has a state only")
        if value == State.HALTED:
            return await self.halt_all()
        raise Refused("all symbols can be halted, or resumed by removing this row")

    async def _held(self) -> dict[str, Any]:
        try:
            return await asyncio.to_thread(operator.read_controls, self._config)
        except StreamError as error:
            raise Refused(str(error)) from error

    async def _do(self, change: Callable[..., Written], *arguments: object) -> Written:
        if self._read_only:
            raise Refused("this dashboard is read-only")
        # One after the other: a change of one field reads the others first.
        async with self._turn:
            try:
                written = await asyncio.to_thread(change, self._config, *arguments, self._seconds)
            except StreamError as error:
                raise Refused(str(error)) from error
            except Exception as error:
                log.exception("a change of controls failed")
                raise Refused(f"unexpected {type(error).__name__}: {error}; see the dashboard's log") from error
        log.info("%s version %d: %s; %s", written.key, written.version, written.control, written.holds)
        return written
