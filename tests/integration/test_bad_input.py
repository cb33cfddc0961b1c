"""No input stops an agent: each bad record is skipped or set aside, with its reason, and counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest

from agents.stream.config import KafkaConfig
from agents.stream.runner import RunnerSettings
from schemas.frames import encode_frame
from schemas.partitioning import partition_of
from schemas.records import Control
from schemas.topics import CONTROLS, DEAD_LETTERS, EXECUTIONS, QUOTES, SIGNALS, TOPICS
from tests.integration import market
from tests.integration.pipeline import Pipeline, json_records, trades_hash, wait_until

ROOT = Path(__file__).parents[2]
GOOD = {"symbol": "AAPL", "ts": market.START + 1, "bid": 100.0, "bid_size": 100, "ask": 100.02, "ask_size": 100}
TEN_MEGABYTES = 10 << 20
DOCUMENT = json.loads((ROOT / "schemas/asyncapi.json").read_text())
UNTIMED = ("ticks_bid_ask", "preds")
PARTITIONS = 3
HOME = partition_of("AAPL", PARTITIONS)
ELSEWHERE = (HOME + 1) % PARTITIONS


def changed(**fields: Any) -> bytes:
    return orjson.dumps(GOOD | fields)


def without(name: str) -> bytes:
    return orjson.dumps({field: value for field, value in GOOD.items() if field != name})


FRAME = encode_frame(["AAPL"], np.zeros(3, np.int32), np.full(3, market.START + 2), [np.full(3, 100.0)] * 4)

SET_ASIDE: dict[str, tuple[bytes | None, str]] = {
    "broken JSON": (b'{"symbol":"AAPL","ts":17676', "malformed"),
    "no object": (b"[1,2,3]", "malformed"),
    "missing field": (without("ask"), "ask"),
    "wrong type": (changed(bid="100.0"), "bid"),
    "null price": (changed(bid=None), "bid"),
    "NaN as JavaScript writes it": (changed(bid=1.5).replace(b"1.5", b"NaN"), "malformed"),
    "empty value": (b"", "empty value"),
    "null value": (None, "empty value"),
    "empty symbol": (changed(symbol=""), "symbol"),
    "symbol of 33 characters": (changed(symbol="A" * 33), "symbol"),
    "ten megabytes": (b"x" * TEN_MEGABYTES, "malformed"),
    "ten megabytes of JSON": (changed(symbol="A" * TEN_MEGABYTES), "symbol"),
    "frame cut short": (FRAME[:-20], "malformed"),
    "frame of garbage": (b"\xff" * 400, "malformed"),
    "clock with a text": (b'{"clock":"now"}', "clock"),
}
SKIPPED: dict[str, tuple[bytes, str]] = {
    "negative price": (changed(bid=-1.0), "bad_price"),
    "zero ask": (changed(ask=0), "bad_price"),
    "zero size": (changed(ask_size=0), "bad_size"),
    "microseconds": (changed(ts=market.START // 1000), "bad_ts"),
    "negative ts": (changed(ts=-5), "bad_ts"),
    "ts beyond 64 bits": (changed(ts=7).replace(b":7,", b":" + b"7" * 25 + b","), "bad_ts"),
    "year 2100": (changed(ts=4_102_444_800 * 10**9), "future"),
    "clock in the future": (orjson.dumps({"clock": 4_102_444_800 * 10**9, "feed": "test"}), "future"),
    "clock in microseconds": (orjson.dumps({"clock": market.START // 1000, "feed": "test"}), "bad_ts"),
    "NaN in a frame": (
        encode_frame(["AAPL"], np.zeros(1, np.int32), np.full(1, market.START), [np.full(1, np.nan)] * 4),
        "not_finite",
    ),
}


@pytest.mark.parametrize("direct", [True, False], ids=["queue", "consume"])
def test_bad_records_change_nothing_and_are_accounted_for(direct: bool, pipeline: Callable[..., Pipeline]) -> None:
    plain = run(pipeline, direct, bad=[])
    bad = [value for value, _ in (*SET_ASIDE.values(), *SKIPPED.values())]
    spoiled = run(pipeline, direct, bad=bad)
    assert len(plain.trades()) > 0
    assert trades_hash(spoiled.trades()) == trades_hash(plain.trades())

    before, after = plain.counters("signals"), spoiled.counters("signals")
    more = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    wanted: dict[str, int] = {"dead_lettered": len(SET_ASIDE)}
    for _, counter in SKIPPED.values():
        wanted[counter] = wanted.get(counter, 0) + 1
    assert more == wanted
    # every row that came in is in one of the counters ("crossed" rows are used as well)
    rows = len(spoiled.messages(QUOTES.name))  # one row a record here, in frames as well
    assert sum(after.values()) - after["crossed"] == rows

    letters = spoiled.messages(DEAD_LETTERS.name)
    reasons = [dict(letter.headers())["mm_reason"].decode() for letter in letters]
    assert len(letters) == len(SET_ASIDE)
    for reason, (value, part), letter in zip(reasons, SET_ASIDE.values(), letters, strict=True):
        headers = dict(letter.headers())
        assert part in reason
        described = DOCUMENT["components"]["messages"]["dead-letters"]["headers"]
        assert set(described["required"]) <= headers.keys() <= described["properties"].keys()
        assert headers["mm_topic"].decode() == spoiled.config.name(QUOTES.name)
        assert letter.partition() == int(headers["mm_partition"]) == HOME
        if value is not None and len(value) > 512 << 10:
            assert letter.value() == value[: 512 << 10]
            assert int(headers["mm_truncated"]) == len(value)
        else:
            assert letter.value() == value
    assert plain.messages(DEAD_LETTERS.name) == []


def run(pipeline: Callable[..., Pipeline], direct: bool, bad: list[bytes | None]) -> Pipeline:
    desk = pipeline(create_topics=False, partitions=PARTITIONS, runner_settings=RunnerSettings(direct=direct))
    desk.config = KafkaConfig(desk.bootstrap, desk.prefix, {"message.max.bytes": str(16 << 20)})
    desk.create_topics(**{"max.message.bytes": str(16 << 20)})
    desk.control("AAPL", Control(max_position_dollars=50_000))
    records = list(json_records(market.quotes(symbols=("AAPL",), per_second=4), PARTITIONS))
    middle = len(records) // 2
    spoiled = [(HOME, b"AAPL", value) for value in bad]
    desk.publish(QUOTES.name, [*records[:middle], *spoiled, *records[middle:]])
    desk.start_all()
    desk.wait_until_drained()
    desk.stop()
    return desk


def test_rows_in_a_wrong_partition_are_set_aside(pipeline: Callable[..., Pipeline]) -> None:
    desk = pipeline(partitions=PARTITIONS)
    other = next(f"S{i}" for i in range(100) if partition_of(f"S{i}", PARTITIONS) == ELSEWHERE)
    frame = encode_frame(
        ["AAPL", other],
        np.array([0, 1, 1], np.int32),
        np.full(3, market.START),
        [np.full(3, 100.0), np.full(3, 1.0), np.full(3, 100.5), np.full(3, 1.0)],
    )
    desk.publish(QUOTES.name, [(ELSEWHERE, b"AAPL", orjson.dumps(GOOD)), (HOME, None, frame)])
    desk.start_all()
    desk.wait_until_drained()
    counters = desk.counters("signals")
    assert (counters["used"], counters["dead_lettered"]) == (1, 3)
    reasons = [dict(letter.headers())["mm_reason"].decode() for letter in desk.messages(DEAD_LETTERS.name)]
    assert len(reasons) == 2
    assert all("wrong partition" in reason and "murmur2_random" in reason for reason in reasons)


def test_clocks_that_go_back_are_skipped_and_late_rows_counted(pipeline: Callable[..., Pipeline]) -> None:
    desk = pipeline(partitions=1)
    desk.quotes(
        [
            {"clock": market.START, "feed": "a"},
            GOOD,
            {"clock": market.START + 10**9, "feed": "a"},
            {"clock": market.START, "feed": "a"},
            GOOD,
        ]
    )
    desk.start_all()
    desk.wait_until_drained()
    counters = desk.counters("signals")
    assert (counters["used"], counters["late"], counters["clock"], counters["clock_back"]) == (1, 1, 2, 1)


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("AAPL", b'{"max_position_dollars":-1}', "max_position_dollars"),
        ("AAPL", b'{"max_position_dollars":1000,"lot":5}', "lot"),
        ("AAPL", b"", "empty value"),
        ("*", b'{"state":"ASLEEP"}', "state"),
        ("", b'{"max_position_dollars":1000}', "key"),
    ],
)
def test_invalid_control_is_set_aside_once_and_the_old_one_stays(
    key: str, value: bytes, part: str, pipeline: Callable[..., Pipeline]
) -> None:
    desk = pipeline(partitions=2)
    desk.control("AAPL", Control(max_position_dollars=50_000))
    desk.publish(CONTROLS.name, [(0, key.encode(), value)])
    desk.quotes(market.quotes(seconds=100, symbols=("AAPL", "BAC")))
    desk.start_all()
    desk.wait_until_drained()
    # A restarted agent reads the topic again, and must not set the record aside again.
    desk.stop()
    desk.start_all()
    desk.quotes(market.quotes(seconds=20, symbols=("AAPL", "BAC"), start=market.START + 200 * 10**9))
    desk.wait_until_drained()
    letters = desk.messages(DEAD_LETTERS.name)
    assert len(letters) == 1
    headers = {name: value.decode() for name, value in letters[0].headers()}
    assert part in headers["mm_reason"]
    assert headers["mm_topic"] == desk.config.name(CONTROLS.name)
    assert headers["mm_offset"] == "1"
    assert {signal["control"]["version"] for signal in desk.records(SIGNALS.name)} == {0}


def test_garbage_on_the_inner_topics_is_set_aside_too(pipeline: Callable[..., Pipeline]) -> None:
    desk = pipeline(partitions=1)
    garbage = [(0, b"AAPL", b"{}"), (0, b"AAPL", b"\x00"), (0, b"AAPL", None)]
    desk.publish(SIGNALS.name, garbage)
    desk.publish(EXECUTIONS.name, garbage)
    desk.control("AAPL", Control(max_position_dollars=50_000))
    desk.quotes(market.quotes(seconds=100, symbols=("AAPL",)))
    desk.start_all()

    def all_taken() -> bool:
        executed, booked = desk.counters("execution"), desk.counters("portfolio")
        return executed.get("used", 0) > 0 and executed["used"] == booked.get("used", 0)

    wait_until(lambda: desk.counters("signals").get("clock") == 101, "the clocks to be taken")
    wait_until(all_taken, "all signals to go through")
    assert desk.counters("execution")["dead_lettered"] == 3
    assert desk.counters("portfolio")["dead_lettered"] == 3
    agents = {dict(letter.headers())["mm_agent"].decode() for letter in desk.messages(DEAD_LETTERS.name)}
    assert agents == {"execution-0", "portfolio-0"}


def test_every_published_record_has_the_shape_of_its_schema(pipeline: Callable[..., Pipeline]) -> None:
    desk = pipeline(partitions=2)
    desk.control("AAPL", Control(max_position_dollars=50_000))
    desk.quotes(market.quotes(seconds=200, symbols=("AAPL", "BAC")))
    desk.start_all()
    desk.wait_until_drained()
    events: list[tuple[str, str]] = []
    for name in ("ticks_bid_ask", "preds", "signals", "executions", "trades", "orders", "positions", "pnl"):
        messages = desk.messages(name)
        assert messages, name
        for message in messages:
            record = msgspec.json.decode(message.value(), type=TOPICS[name].record, strict=True)
            assert message.key().decode() == record.symbol
            assert message.partition() == partition_of(record.symbol, 2)
            headers = {header: value.decode() for header, value in message.headers()}
            described = DOCUMENT["components"]["messages"][type(record).__name__]["headers"]
            assert list(headers) == described["required"]
            for header, value in headers.items():
                assert value == described["properties"][header].get("const", value)
            assert name in UNTIMED or headers["ce_time"] == record.time
            if name not in UNTIMED:
                events.append((headers["ce_source"], headers["ce_id"]))
    assert len(set(events)) == len(events)
