"""Merging feeds that are sorted by ts into one, and mixing one up within windows of event time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from agents.feeds.quotes import Quotes, concatenate
from schemas.times import NS


def merge(sources: Sequence[Iterator[Quotes]]) -> Iterator[Quotes]:
    """The rows of all sources by ts; ties keep the order of the sources, then of the rows.

    Each source is sorted by ts. Holds one chunk of each at a time.
    """
    waiting: list[Quotes | None] = [next(source, None) for source in sources]
    while any(chunk is not None for chunk in waiting):
        # The chunk that ends first bounds what is known of all sources; its own source comes next at a tie.
        bound, first = min((int(chunk.ts[-1]), i) for i, chunk in enumerate(waiting) if chunk is not None)
        ready = []
        for i, chunk in enumerate(waiting):
            if chunk is None:
                continue
            rows = int(np.searchsorted(chunk.ts, bound, "right" if i <= first else "left"))
            if rows:
                ready.append(chunk.take(slice(0, rows)))
            waiting[i] = chunk.take(slice(rows, None)) if rows < len(chunk) else next(sources[i], None)
        rows_by_source = concatenate(ready)
        yield rows_by_source.take(np.argsort(rows_by_source.ts, kind="stable")) if len(ready) > 1 else rows_by_source


def shuffled(chunks: Iterator[Quotes], window_seconds: float, seed: int) -> Iterator[Quotes]:
    """The rows of each window of event time in random order, each symbol's own rows in theirs.

    Within a window no row promises more than the window's beginning, so that clocks fall on the borders.
    """
    window = max(1, round(window_seconds * NS))
    random = np.random.default_rng(seed)
    held: list[Quotes] = []
    for chunk in chunks:
        held.append(chunk)
        if chunk.ts[-1] // window > held[0].ts[0] // window:
            rows = concatenate(held)
            border = int(np.searchsorted(rows.ts, rows.ts[-1] // window * window))
            yield from _windows(rows.take(slice(0, border)), window, random)
            held = [rows.take(slice(border, None))]
    if held:
        yield from _windows(concatenate(held), window, random)


def _windows(rows: Quotes, window: int, random: np.random.Generator) -> Iterator[Quotes]:
    begins = np.flatnonzero(np.diff(rows.ts // window, prepend=rows.ts[0] // window - 1))
    for begin, end in zip(begins, [*begins[1:], len(rows)], strict=True):
        yield _mixed(rows.take(slice(begin, end)), window, random)


def _mixed(rows: Quotes, window: int, random: np.random.Generator) -> Quotes:
    places = random.permutation(rows.number).argsort(kind="stable")
    order = np.empty(len(rows), np.int64)
    order[places] = rows.number.argsort(kind="stable")
    mixed = rows.take(order)
    mixed.promise[:] = rows.ts[0] // window * window
    return mixed
