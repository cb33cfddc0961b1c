"""Merging keeps ts order and the order within ties, whatever the chunks; shuffling keeps each symbol's order."""

from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agents.feeds.merging import merge, shuffled
from agents.feeds.quotes import Quotes
from tests.feeds.rows import Row, quotes_of, row, rows_of

chunk_sizes = st.lists(st.integers(1, 5), min_size=1, max_size=4)
sources = st.lists(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 7)), max_size=25), min_size=1, max_size=4)


def in_chunks(rows: list[Row], sizes: list[int]) -> Iterator[Quotes]:
    at, turn = 0, 0
    while at < len(rows):
        size = sizes[turn % len(sizes)]
        yield quotes_of(rows[at : at + size])
        at, turn = at + size, turn + 1


def numbered(source: int, drawn: list[tuple[int, int]]) -> list[Row]:
    """Rows sorted by ts whose bid tells source and place."""
    return [row(symbol, ts, 1000 * source + i) for i, (ts, symbol) in enumerate(sorted(drawn, key=lambda d: d[0]))]


@given(sources, chunk_sizes)
def test_merge_is_a_stable_sort_by_ts_over_the_sources(drawn: list[list[tuple[int, int]]], sizes: list[int]) -> None:
    files = [numbered(i, each) for i, each in enumerate(drawn)]
    merged = [each for chunk in merge([in_chunks(file, sizes) for file in files]) for each in rows_of(chunk)]
    assert merged == sorted((each for file in files for each in file), key=lambda each: each.ts)


@given(sources, chunk_sizes, st.integers(1, 6), st.integers(0, 3))
def test_shuffling_stays_within_windows_and_keeps_each_symbols_order(
    drawn: list[list[tuple[int, int]]], sizes: list[int], window: int, seed: int
) -> None:
    rows = numbered(0, drawn[0])
    found = list(shuffled(in_chunks(rows, sizes), window / 1e9, seed))
    mixed = [each for chunk in found for each in rows_of(chunk)]
    assert sorted(mixed, key=lambda each: each.bid) == rows
    assert [each.ts // window for each in mixed] == [each.ts // window for each in rows]
    for symbol in {each.symbol for each in rows}:
        assert [each for each in mixed if each.symbol == symbol] == [each for each in rows if each.symbol == symbol]
    promises = [promise for chunk in found for promise in chunk.promise.tolist()]
    assert all(promise <= min(each.ts for each in mixed[i:]) for i, promise in enumerate(promises))


def test_shuffling_does_mix_and_the_seed_decides_how() -> None:
    rows = [row(i % 8, i) for i in range(200)]
    orders = [
        np.concatenate([chunk.ts for chunk in shuffled(in_chunks(rows, [5]), 100e-9, seed)]).tolist()
        for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != [each.ts for each in rows]
