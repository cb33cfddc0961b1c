"""The topic ``controls`` as the signals agent knows it: the book of what holds, and what came since."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Any

from agents.strategy.controls import ControlBook
from agents.stream.batch import Batch, MessageBatch
from agents.stream.errors import BadConfiguration
from agents.stream.read import Follower
from schemas.controls import InvalidControl, parse_control
from schemas.records import EVERY_SYMBOL, Control, StarControl


class ControlLog:
    """Follows the topic. `changes` lists the symbols (or ``*``) of all records taken, in their order."""

    def __init__(self, follower: Follower, beat: Callable[[], None]) -> None:
        self.book = ControlBook()
        self.changes: list[str] = []
        self._follower = follower
        self._beat = beat
        self._in_topic: set[str] = set()
        self._invalid: list[tuple[Batch, str]] = []  # in the order of their offsets
        self.catch_up()

    @property
    def position(self) -> int:
        """The next offset of the topic to be read."""
        return self._follower.position

    def poll(self) -> None:
        """Take what has come, without waiting."""
        self._take(self._follower.poll())

    def catch_up(self) -> None:
        """Take everything that the topic holds at the time of the call."""
        self._take(self._follower.catch_up(self._beat))

    def invalid_since(self, offset: int) -> list[tuple[Batch, str]]:
        """Records from an offset on that cannot hold, each as a batch of one, with the reason."""
        first = bisect_left(self._invalid, offset, key=lambda invalid: invalid[0].first_offset)
        return self._invalid[first:]

    def note_removed(self, symbols: Iterable[str]) -> None:
        """Take symbols out of the universe whose tombstones are compacted away: their table still has a control."""
        for symbol in (*symbols, EVERY_SYMBOL):
            newest = self.book.newest(symbol)
            if newest is None:
                continue
            if newest >= self.position:
                raise BadConfiguration(
                    f"the tables know version {newest} of {symbol}'s control, but the topic controls ends at "
                    f"{self.position}: it was made anew. Use another MM_PREFIX, or remove the tables as well."
                )
            if symbol not in self._in_topic:
                self._add(symbol, self.position - 1, None)

    def _take(self, messages: Iterable[Any]) -> None:
        for message in messages:
            try:
                symbol, control = parse_control(message.key(), message.value())
            except InvalidControl as error:
                self._invalid.append((MessageBatch([message]), f"invalid control: {error}"))
                continue
            self._in_topic.add(symbol)
            self._add(symbol, message.offset(), control)

    def _add(self, symbol: str, version: int, control: Control | StarControl | None) -> None:
        if self.book.add(symbol, version, control):
            self.changes.append(symbol)
