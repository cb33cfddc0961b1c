"""What the agents keep, dealt out anew: tables and checkpoints for another number of partitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from agents.signals import SignalsAgent
from agents.strategy import grid
from agents.strategy.controls import Schedule
from agents.strategy.stored import Block, FeedState, Progress
from agents.stream.errors import BadConfiguration
from agents.stream.restore import Stored
from schemas.partitioning import partition_of
from schemas.records import Checkpoint

_USED = grid.COUNTERS[0]
FeedPlace = tuple[int, bool]
"""How far a feed has promised to be, and whether it has closed there; later promises are larger."""


def progress_of(stored: Stored) -> Progress:
    """Clocks and more of one partition of quotes; a beginning where there is no checkpoint yet."""
    if stored.checkpoint is None or stored.checkpoint.progress is None:
        return Progress(0, [], [], 0)
    return msgspec.convert(stored.checkpoint.progress, Progress)


def places(progress: Progress) -> dict[str, FeedPlace]:
    """How far each feed has been heard in one partition."""
    return {clock.feed: (clock.ts, not clock.open) for clock in progress.feeds}


def common(sides: Iterable[Mapping[str, FeedPlace]]) -> dict[str, FeedPlace]:
    """How far each feed has been heard in all partitions: not at all where one of them has not heard it."""
    sides = list(sides)
    feeds = set.intersection(*(set(side) for side in sides))
    return {feed: min(side[feed] for side in sides) for feed in sorted(feeds)}


def moments(old: Mapping[int, Stored], partitions: int) -> list[list[tuple[bytes, bytes]]]:
    """Rows of the signals agent's table, by new partition: each symbol with its moments and controls as they were."""
    members: list[list[tuple[str, bytes, Schedule | None]]] = [[] for _ in range(partitions)]
    for _, stored in sorted(old.items()):
        for key in sorted(stored.table, key=int):
            block = msgspec.msgpack.decode(stored.table[key], type=Block)
            size = grid.ROW.itemsize
            for number, symbol in enumerate(block.symbols):
                row = block.rows[number * size : (number + 1) * size]
                members[partition_of(symbol, partitions)].append((symbol, row, block.schedules.get(symbol)))
    return [list(_blocks(symbols)) for symbols in members]


def _blocks(symbols: Sequence[tuple[str, bytes, Schedule | None]]) -> Iterable[tuple[bytes, bytes]]:
    for first in range(0, len(symbols), grid.BLOCK):
        block = symbols[first : first + grid.BLOCK]
        row = Block(
            [symbol for symbol, _, _ in block],
            b"".join(rows for _, rows, _ in block),
            {symbol: schedule for symbol, _, schedule in block if schedule is not None},
        )
        yield b"%d" % (first // grid.BLOCK), msgspec.msgpack.encode(row)


def signals_progress(old: Mapping[int, Stored], partitions: int) -> list[Progress]:
    """Clocks of each new partition: as far as all old ones have come, since its symbols are of any of them.

    Raises BadConfiguration where a feed has ended in some partitions only: its end would be told twice.
    """
    before = {partition: progress_of(stored) for partition, stored in old.items()}
    heard = [places(progress) for progress in before.values()]
    shared = common(heard)
    for feed in sorted({feed for side in heard for feed in side}):
        furthest = max(side[feed] for side in heard if feed in side)
        if furthest[1] and shared.get(feed) != furthest:
            raise BadConfiguration(
                f"the end of the feed {feed!r} has been read in some partitions of quotes only: start the "
                "signals agents until it has been read in all"
            )
    star = sorted({v.version: v for progress in before.values() for v in progress.star}.items())
    clock = min(progress.clock for progress in before.values())
    feeds = [FeedState(feed, ts, not closed) for feed, (ts, closed) in shared.items()]
    # Partition 0 alone sets controls aside that cannot hold, each once.
    taken = [before[0].controls_position, *[0] * (partitions - 1)]
    return [Progress(clock, feeds, [version for _, version in star], position) for position in taken]


def checkpoints(role: Any, old: Mapping[int, Stored], partitions: int, time: str, written_by: str) -> list[Checkpoint]:
    """Checkpoints of a role (its agent's class) at the beginning of its new input.

    The sums of its counters go on: quotes used where their symbols are, all else in partition 0.
    """
    total: Counter[str] = Counter()
    for stored in old.values():
        total.update(stored.checkpoint.counters if stored.checkpoint else {})
    counters: list[dict[str, int]] = [{} for _ in range(partitions)]
    progress: list[Progress | None] = [None] * partitions
    if role is SignalsAgent:
        progress = list(signals_progress(old, partitions))
        counters = [{_USED: used} for used in _quotes_used(moments(old, partitions))]
        total[_USED] -= sum(own[_USED] for own in counters[1:])
    counters[0] = dict(total)
    return [
        Checkpoint(
            role=role.role,
            partition=partition,
            offset=0,
            time=time,
            counters=counters[partition],
            instance=written_by,
            progress=progress[partition],
            state_version=role.state_version,
        )
        for partition in range(partitions)
    ]


def _quotes_used(tables: Iterable[Iterable[tuple[bytes, bytes]]]) -> Iterable[int]:
    for table in tables:
        blocks = [msgspec.msgpack.decode(row, type=Block) for _, row in table]
        yield sum(int(np.frombuffer(block.rows, grid.ROW)["rows"].sum()) for block in blocks)
