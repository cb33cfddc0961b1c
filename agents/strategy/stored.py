"""What is kept of a partition's state: rows of the table `moments`, and what their checkpoint says beside them.

A field more needs a default that an older version can do without; anything else needs a new `state_version`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from agents.strategy.controls import Schedule, StarVersion
from agents.strategy.desk import Desk
from schemas.decoding import QuoteDecoder
from schemas.records import FeedName


class Block(msgspec.Struct, frozen=True, array_like=True):
    """One row of the table `moments`: up to 64 symbols with their state (`grid.ROW`) and their controls."""

    symbols: list[str]
    rows: bytes
    schedules: dict[str, Schedule]


class FeedState(msgspec.Struct, frozen=True):
    """How far one feed has promised to be, and whether it goes on."""

    feed: FeedName
    ts: int
    open: bool


class Progress(msgspec.Struct, frozen=True):
    """What the signals agent's checkpoint keeps beside the table."""

    clock: int
    feeds: list[FeedState]
    star: list[StarVersion]
    controls_position: int


def feed_states(desk: Desk, feeds: Sequence[str]) -> list[FeedState]:
    """How far a desk has heard each feed; feeds: their names by number."""
    return [
        FeedState(feed, int(desk.feed_ts[number]), bool(desk.feed_open[number])) for number, feed in enumerate(feeds)
    ]


def restore_feeds(stored: Iterable[FeedState], desk: Desk, decoder: QuoteDecoder) -> None:
    """Take up what was stored by `feed_states`; the decoder numbers the feeds."""
    for state in stored:
        number = decoder.feed_number(state.feed)
        desk.feed_ts[number], desk.feed_open[number] = state.ts, state.open
