"""State and waiting quotes dealt out to other partitions: the agents go on as if nothing had happened."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from agents.execution import ExecutionAgent
from agents.portfolio import PortfolioAgent
from agents.repartition.pending import Merge, Pending
from agents.repartition.state import checkpoints, moments, places, progress_of
from agents.signals import SignalsAgent
from agents.strategy.settings import Settings
from agents.stream.errors import BadConfiguration
from agents.stream.restore import Stored
from schemas.controls import encode_control
from schemas.frames import encode_frame
from schemas.partitioning import partition_of
from schemas.records import Checkpoint, Control, StarControl, State
from schemas.times import NS
from tests.integration import market
from tests.integration.pipeline import trades_hash
from tests.pipeline import offline

ROLES = (SignalsAgent, ExecutionAgent, PortfolioAgent)
SYMBOLS = tuple(f"S{n}" for n in range(9))
FUTURE_NS = round(Settings().future_seconds * NS)

Row = dict[str, Any]


def logs(rows: Sequence[Row], partitions: int) -> list[list[Row]]:
    """The rows as each partition holds them: clocks in all."""
    every = range(partitions)
    return [[row for row in rows if "clock" in row or partition_of(row["symbol"], partitions) == p] for p in every]


def raw(row: Row) -> offline.Raw:
    ts = row.get("ts", row.get("clock"))
    assert ts is not None
    return offline.Raw(msgspec.json.encode(row), (row.get("symbol") or "").encode() or None, ts // 1_000_000 + 1)


def as_frames(records: Sequence[offline.Raw], chance: random.Random) -> list[offline.Raw]:
    """The same records, runs of quotes put into frames here and there."""
    framed: list[offline.Raw] = []
    run: list[Row] = []

    def close() -> None:
        if run:
            symbols = sorted({row["symbol"] for row in run})
            numbers = np.array([symbols.index(row["symbol"]) for row in run], np.int32)
            ts = np.array([row["ts"] for row in run], np.int64)
            prices = [np.array([row[name] for row in run], float) for name in ("bid", "bid_size", "ask", "ask_size")]
            framed.append(offline.Raw(encode_frame(symbols, numbers, ts, prices), None, int(ts.max()) // 1_000_000 + 1))
            run.clear()

    for record in records:
        row = msgspec.json.decode(record.record_value or b"")
        if "clock" in row:
            close()
            framed.append(record)
        else:
            run.append(row)
            if chance.random() < 0.2:
                close()
    close()
    return framed


class Desk:
    """An offline desk that can be carried to another number of partitions."""

    def __init__(self, partitions: int, prepare: Callable[[offline.ControlsTopic], None]) -> None:
        self.pipeline = offline.Pipeline(Settings(), partitions)
        prepare(self.pipeline.controls)

    def run(self, records: Sequence[Sequence[offline.Raw]]) -> None:
        for partition, own in enumerate(records):
            for first in range(0, len(own), 50):
                self.pipeline.process(own[first : first + 50], partition)
        self.pipeline.commit()

    def stored(self, role: int) -> dict[int, Stored]:
        """As the restorer would read it."""
        result = {}
        for partition in range(self.pipeline.partitions):
            kept = self.pipeline._stored[role, partition]
            checkpoint = Checkpoint(
                role=ROLES[role].role,
                partition=partition,
                offset=kept.offset,
                time="",
                counters=kept.counters,
                instance="0",
                progress=msgspec.json.decode(kept.progress) if kept.progress else None,
            )
            result[partition] = Stored(kept.offset, checkpoint if kept.offset else None, kept.table)
        return result

    def carried(self, pending: Sequence[Sequence[offline.Raw]], partitions: int) -> tuple[offline.Pipeline, Merge]:
        """A desk of another number of partitions that has taken up this one's state and worked off what waited."""
        new = offline.Pipeline(Settings(), partitions)
        new.controls = self.pipeline.controls
        signals = self.stored(0)
        tables: list[list[dict[bytes, bytes]]] = [[dict(rows) for rows in moments(signals, partitions)]]
        for role in (1, 2):
            rows = {key: row for stored in self.stored(role).values() for key, row in stored.table.items()}
            tables.append([{} for _ in range(partitions)])
            for key, row in rows.items():
                tables[-1][partition_of(key.decode(), partitions)][key] = row
        for role, agent in enumerate(ROLES):
            for checkpoint in checkpoints(agent, self.stored(role), partitions, "", "test"):
                partition = checkpoint.partition
                progress = None if checkpoint.progress is None else msgspec.json.encode(checkpoint.progress)
                new._stored[role, partition] = offline.Stored(tables[role][partition], progress, checkpoint.counters)
        new.start()
        heard = {partition: places(progress_of(stored)) for partition, stored in signals.items()}
        records = {
            p: iter([Pending(record.record_key, record.record_value, record.timestamp_ms) for record in own])
            for p, own in enumerate(pending)
        }
        merge = Merge(records, heard, partitions, FUTURE_NS)
        for partition, record in merge:
            new.process([offline.Raw(record.value, record.key, record.timestamp)], partition)
        new.commit()
        return new, merge


def prepare(topic: offline.ControlsTopic) -> None:
    for symbol in SYMBOLS[:-1]:
        topic.write(symbol, encode_control(Control(max_position_dollars=60_000)))
    middle = market.START + 150 * NS
    topic.write(SYMBOLS[1], encode_control(Control(max_position_dollars=5_000, effective_from=middle)))
    topic.write(SYMBOLS[2], None)
    topic.write("*", encode_control(StarControl(state=State.REDUCING, effective_from=middle + 40 * NS)))


def with_late_rows(rows: Sequence[Row], chance: random.Random) -> list[Row]:
    """Some rows put behind later clocks, where they are late."""
    result = list(rows)
    for _ in range(60):
        source = chance.randrange(len(result))
        if "symbol" in result[source]:
            row = result.pop(source)
            result.insert(min(len(result) - 1, source + chance.randrange(80)), row)
    return result


def with_second_feed(rows: Sequence[Row], chance: random.Random) -> list[Row]:
    """Clocks of a slower feed among the others."""
    result: list[Row] = []
    for row in rows:
        result.append(row)
        if "clock" in row and chance.random() < 0.4:
            result.append({"clock": row["clock"] - 2 * NS, "feed": "slow", "end": row.get("end", False)})
    return result


def usual(pipeline: offline.Pipeline) -> tuple[Any, ...]:
    return pipeline.latest("positions"), pipeline.latest("pnl")


@settings(max_examples=15, deadline=None, phases=set(Phase) - {Phase.shrink})  # a failure's seed says it all
@given(
    before=st.integers(1, 6),
    after=st.integers(1, 6),
    seed=st.integers(0, 1 << 30),
    framed=st.booleans(),
    unclean=st.booleans(),
)
def test_a_desk_carried_at_any_point_ends_as_one_that_was_not(
    before: int, after: int, seed: int, framed: bool, unclean: bool
) -> None:
    chance = random.Random(seed)
    rows: list[Row] = list(market.quotes(seconds=260, per_second=1, symbols=SYMBOLS, seed=seed))
    if unclean:
        rows = with_second_feed(with_late_rows(rows, chance), chance)
    records = [[raw(row) for row in own] for own in logs(rows, before)]
    undisturbed = Desk(before, prepare)
    undisturbed.run(records)

    # Each partition stops at a point of its own, but for the end of the feed, which none has reached.
    stops = [chance.randrange(sum(b'"end":true' not in (r.record_value or b"") for r in own) + 1) for own in records]
    desk = Desk(before, prepare)
    desk.run([own[:stop] for own, stop in zip(records, stops, strict=True)])
    pending = [own[stop:] for own, stop in zip(records, stops, strict=True)]
    if framed:
        pending = [as_frames(own, chance) for own in pending]
    new, merge = desk.carried(pending, after)

    trades = [*desk.pipeline.published("trades"), *new.published("trades")]
    wanted = undisturbed.pipeline.published("trades")
    assert trades_hash(trades) == trades_hash(wanted)
    assert usual(new) == usual(undisturbed.pipeline)
    assert merge.left_behind == 0
    assert without_clocks(new.counters()) == without_clocks(undisturbed.pipeline.counters())


def without_clocks(counters: Mapping[str, int]) -> dict[str, int]:
    """Each partition counts its own clocks."""
    return {name: count for name, count in counters.items() if not name.startswith("clock")}


def test_the_market_of_these_tests_trades() -> None:
    """Or the property above would hold for nothing."""
    desk = Desk(3, prepare)
    desk.run(
        [[raw(row) for row in own] for own in logs(list(market.quotes(seconds=260, per_second=1, symbols=SYMBOLS)), 3)]
    )
    trades = desk.pipeline.published("trades")
    assert len(trades) > 30
    assert len({trade["symbol"] for trade in trades}) > 5


def merged(records: Mapping[int, Sequence[Pending]], partitions: int) -> tuple[list[tuple[int, Pending]], int]:
    merge = Merge({p: iter(own) for p, own in records.items()}, {p: {} for p in records}, partitions, FUTURE_NS)
    return list(merge), merge.left_behind


def test_what_no_agent_could_use_stays_behind_and_is_counted() -> None:
    ts = market.START
    good = next(symbol for symbol in SYMBOLS if partition_of(symbol, 2) == 0)
    row = {"symbol": good, "ts": ts, "bid": 1.0, "bid_size": 1.0, "ask": 2.0, "ask_size": 1.0}
    frame = encode_frame(
        [good], np.zeros(2, np.int32), np.array([ts, ts], np.int64), [np.ones(2), np.ones(2), np.ones(2), np.ones(2)]
    )
    values: list[bytes | None] = [
        msgspec.json.encode(row),
        b"{broken",
        b"",
        None,
        frame,
        frame[:-4],
        msgspec.json.encode({"clock": ts + 3600 * NS, "feed": "far ahead"}),
    ]
    records = [Pending(None, value, ts // 1_000_000) for value in values]
    placed, left_behind = merged({0: records, 1: [Pending(None, values[0], ts // 1_000_000)]}, 3)
    assert [(partition, record.value) for partition, record in placed] == [
        (partition_of(good, 3), values[0]),
        (partition_of(good, 3), frame),
    ]
    assert left_behind == 5 + 1  # and the quote that lies in another symbol's partition


def test_a_clock_that_one_partition_never_gets_is_no_promise_for_all() -> None:
    ts = market.START
    clock = Pending(None, msgspec.json.encode({"clock": ts, "feed": "a"}), ts // 1_000_000)
    placed, _ = merged({0: [clock], 1: []}, 2)
    assert placed == []


def test_a_feed_that_has_ended_in_some_partitions_only_is_refused() -> None:
    rows = list(market.quotes(seconds=5, symbols=SYMBOLS))
    records = [[raw(row) for row in own] for own in logs(rows, 2)]
    desk = Desk(2, prepare)
    desk.run([records[0], records[1][:-1]])
    with pytest.raises(BadConfiguration, match="end of the feed 'test'"):
        checkpoints(SignalsAgent, desk.stored(0), 3, "", "test")


def test_more_symbols_than_a_block_holds_keep_their_moments() -> None:
    many = tuple(f"M{n}" for n in range(200))
    rows = list(market.quotes(seconds=30, per_second=3, symbols=many))
    desk = Desk(4, prepare)
    desk.run([[raw(row) for row in own] for own in logs(rows, 4)])
    stored = desk.stored(0)

    def members(tables: Sequence[Mapping[bytes, bytes]]) -> dict[str, tuple[int, bytes]]:
        from agents.strategy.grid import ROW
        from agents.strategy.stored import Block

        found = {}
        for partition, table in enumerate(tables):
            for key in sorted(table, key=int):
                block = msgspec.msgpack.decode(table[key], type=Block)
                for number, symbol in enumerate(block.symbols):
                    found[symbol] = partition, block.rows[number * ROW.itemsize : (number + 1) * ROW.itemsize]
        return found

    before = members([stored[p].table for p in range(4)])
    after = members([dict(rows) for rows in moments(stored, 2)])
    assert {symbol: row for symbol, (_, row) in after.items()} == {symbol: row for symbol, (_, row) in before.items()}
    assert all(partition == partition_of(symbol, 2) for symbol, (partition, _) in after.items())
    assert len(after) >= 200
