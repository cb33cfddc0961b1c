"""The promise of the clocks, and equal content in both wire formats."""

import dataclasses
import math
from itertools import pairwise

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.feeds.generator import WalkSettings, walk
from agents.feeds.merging import shuffled
from agents.feeds.publisher import QuotePublisher
from agents.feeds.quotes import CUT, FIELD_MISSING, Quotes, concatenate
from agents.feeds.wire import FRAME_ROWS, Symbols, Wire, json_values
from schemas.frames import FIRST_BYTE, decode_frame
from schemas.partitioning import partition_of
from schemas.records import Clock
from schemas.times import NS
from tests.feeds.rows import SYMBOLS, T0, ListSink, Row, content, quotes_of, row, rows_of

PARTITIONS = 3
numbers = st.floats(allow_nan=False, allow_infinity=False)
drawn_rows = st.lists(st.tuples(st.integers(0, 5 * NS), st.integers(0, 7), numbers), min_size=1, max_size=60)


def publish(chunks: list[Quotes], wire: Wire) -> ListSink:
    sink = ListSink(PARTITIONS)
    publisher = QuotePublisher(sink, "test", wire)
    for chunk in chunks:
        publisher.publish(chunk)
    publisher.end()
    return sink


def check_promises(sink: ListSink) -> None:
    """No row after a clock with a smaller ts; every partition has every clock, each second, and the end."""
    clocks = []
    for partition in range(PARTITIONS):
        found = sink.content(partition)
        promised = -1
        for each in found:
            if isinstance(each, Clock):
                assert each.clock >= promised
                promised = each.clock
            else:
                assert each.ts >= promised
                assert partition_of(each.symbol, PARTITIONS) == partition
        clocks.append([each for each in found if isinstance(each, Clock)])
    assert clocks.count(clocks[0]) == PARTITIONS
    *running, last = clocks[0]
    assert last.end and not any(clock.end for clock in running)
    assert all(after.clock - before.clock == NS for before, after in pairwise(running))


@pytest.mark.parametrize("wire", list(Wire))
@given(drawn=drawn_rows, size=st.integers(1, 60))
def test_no_row_contradicts_a_clock_and_none_is_lost(
    wire: Wire, drawn: list[tuple[int, int, float]], size: int
) -> None:
    rows = [row(number, T0 + ts, bid) for ts, number, bid in sorted(drawn, key=lambda each: each[0])]
    sink = publish([quotes_of(rows[at : at + size]) for at in range(0, len(rows), size)], wire)
    check_promises(sink)
    for partition in range(PARTITIONS):
        expected = [each for each in rows if partition_of(each.symbol, PARTITIONS) == partition]
        assert [each for each in sink.content(partition) if isinstance(each, Row)] == expected
    clocks = [each for each in sink.content(0) if isinstance(each, Clock)]
    assert clocks[-1].clock == rows[-1].ts
    assert clocks[0].clock <= rows[0].ts


@pytest.mark.parametrize("wire", list(Wire))
def test_a_shuffled_feed_keeps_its_promises(wire: Wire) -> None:
    chunks = list(shuffled(iter([next(walk(WalkSettings(rate=1000), T0))]), 1.5, seed=3))
    sink = publish(chunks, wire)
    found = [each for partition in range(PARTITIONS) for each in sink.content(partition)]
    assert sum(isinstance(each, Row) for each in found) == sum(len(chunk) for chunk in chunks)
    for partition in range(PARTITIONS):
        promised = 0
        for each in sink.content(partition):
            if isinstance(each, Clock):
                promised = each.clock
            else:
                assert each.ts >= promised


def test_json_and_frames_carry_the_same_content_in_the_same_order() -> None:
    settings = WalkSettings(symbols=20, rate=4000, bad_fraction=0.001)
    chunks = [chunk for chunk, _ in zip(walk(settings, T0), range(3), strict=False)]
    for chunk in chunks:
        chunk.bid[np.isnan(chunk.bid)] = -1.0  # JSON has no word for it
        chunk.defect[:] = 0
    json, frames = (publish(chunks, wire) for wire in Wire)
    for partition in range(PARTITIONS):
        assert json.content(partition) == frames.content(partition)
    values = [value for records in frames.records.values() for _, value in records if value[0] == FIRST_BYTE]
    lengths = [len(ts) for value in values for _, _, ts, _ in decode_frame(value)]
    assert FRAME_ROWS <= max(lengths) <= 1.5 * FRAME_ROWS
    assert sum(len(records) for records in frames.records.values()) < json_record_count(json) / 10


@pytest.mark.parametrize(("rows", "expected"), [(32, [32]), (374, [374]), (376, [188, 188]), (520, [260, 260])])
def test_a_stretch_of_rows_is_cut_evenly(rows: int, expected: list[int]) -> None:
    sink = publish([quotes_of([row(0, T0 + i) for i in range(rows)])], Wire.FRAMES)
    values = [value for records in sink.records.values() for _, value in records if value[0] == FIRST_BYTE]
    assert [len(ts) for value in values for _, _, ts, _ in decode_frame(value)] == expected


def json_record_count(sink: ListSink) -> int:
    return sum(len(records) for records in sink.records.values())


def test_json_has_every_number_at_full_precision() -> None:
    rows = [Row(SYMBOLS[0], T0 + i, x, 1e-7, 1e22, 300.0) for i, x in enumerate((0.1 + 0.2, 5e-324, 1 / 3, -0.0))]
    found = [content(value)[0] for value in values_of(quotes_of(rows))]
    assert found == rows
    assert b'"ask_size":300}' in values_of(quotes_of(rows))[0]


def test_json_says_null_for_what_it_cannot_say() -> None:
    quotes = quotes_of([row(0, T0, x) for x in (math.nan, math.inf, 1.0)])
    found = values_of(quotes)
    assert [b'"bid":null' in value for value in found] == [True, True, False]


def test_symbols_are_escaped() -> None:
    quotes = quotes_of([row(0, T0)._replace(symbol='A"\\é')], ['A"\\é'])
    assert orjson.loads(values_of(quotes)[0])["symbol"] == 'A"\\é'


def test_defects_break_the_record_and_no_other() -> None:
    quotes = quotes_of([row(i % 8, T0 + i) for i in range(300)])
    quotes.defect[100], quotes.defect[200] = CUT, FIELD_MISSING
    json, frames = (publish([quotes], wire) for wire in Wire)
    for sink in (json, frames):
        broken = [value for records in sink.records.values() for _, value in records if not readable(value)]
        assert len(broken) == 2
        assert any(value.startswith(b"{") and not value.endswith(b"}") for value in broken)
        assert any(value.endswith(b"}") and b"ask_size" not in value for value in broken)


def readable(value: bytes) -> bool:
    try:
        content(value)
    except ValueError:
        return False
    return True


def values_of(quotes: Quotes) -> list[bytes]:
    symbols = Symbols(PARTITIONS)
    symbols.follow(quotes.symbols)
    return json_values(quotes, symbols)


def test_a_gap_of_years_is_crossed_with_a_days_clocks() -> None:
    sink = publish([quotes_of([row(0, T0), row(1, T0 + 3 * 366 * 86_400 * NS)])], Wire.JSON)
    clocks = [each.clock for each in sink.content(0) if isinstance(each, Clock)]
    assert len(clocks) == 1 + 86_400 + 1 + 1
    assert clocks == sorted(clocks)


@pytest.mark.parametrize("wrong", [0, 1 << 62])
def test_a_ts_that_no_agent_believes_moves_no_clock(wrong: int) -> None:
    rows = sorted([row(0, T0), row(1, T0 + NS), row(2, wrong)], key=lambda each: each.ts)
    sink = publish([quotes_of(rows)], Wire.JSON)
    found = [each for partition in range(PARTITIONS) for each in sink.content(partition)]
    assert sorted(each for each in found if isinstance(each, Row)) == sorted(rows)
    assert [each.clock for each in sink.content(0) if isinstance(each, Clock)] == [T0, T0 + NS, T0 + NS]


def test_a_feed_that_sent_nothing_has_no_end() -> None:
    assert publish([], Wire.JSON).records == {}


def test_the_chunks_of_a_feed_may_name_new_symbols() -> None:
    names = ["A"]
    first = quotes_of([row(0, T0)._replace(symbol="A")], names)
    sink = ListSink(PARTITIONS)
    publisher = QuotePublisher(sink, "", Wire.JSON)
    publisher.publish(first)
    names.append("B")
    second = quotes_of([row(0, T0 + 1)._replace(symbol="B")], names)
    publisher.publish(second)
    assert rows_of(second)[0] in sink.content(partition_of("B", PARTITIONS))


@pytest.mark.parametrize("wire", list(Wire))
def test_the_exchanges_time_travels_where_it_is_known(wire: Wire) -> None:
    rows = quotes_of([row(0, T0 + i) for i in range(100)])
    times = np.where(np.arange(100) < 60, T0 - 5 * NS, 0)
    sink = ListSink(1)
    QuotePublisher(sink, "test", wire).publish(dataclasses.replace(rows, exchange_ts=times))
    assert [each for each in sink.content(0) if isinstance(each, Row)] == rows_of(rows)
    single = [msgspec.json.decode(value) for key, value in sink.records[0] if key is not None]
    known = [record["exchange_ts"] for record in single if "exchange_ts" in record]
    assert known == [T0 - 5 * NS] * 60
    assert len(single) == (100 if wire is Wire.JSON else 60)  # a frame has no column for it


def test_chunks_with_and_without_the_exchanges_time_may_be_joined() -> None:
    rows = quotes_of([row(0, T0), row(1, T0 + 1)])
    timed = dataclasses.replace(rows, exchange_ts=np.array([T0, T0]))
    joined = concatenate([rows, timed]).exchange_ts
    assert joined is not None and joined.tolist() == [0, 0, T0, T0]
    assert concatenate([rows, rows]).exchange_ts is None
