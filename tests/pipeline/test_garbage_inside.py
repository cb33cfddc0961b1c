"""Any value on the topics between agents, controls too, is used or set aside: no agent ends, no number goes astray."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.execution import ExecutionAgent
from agents.portfolio import PortfolioAgent
from agents.strategy.settings import Settings
from schemas.controls import InvalidControl, encode_control, parse_control
from tests.pipeline.offline import Collected, Pipeline, Raw, Stage, Stored, clock_json, quote_json
from tests.pipeline.scripts import examples

T0 = 1_767_623_400_000_000_000
SYMBOLS = ("AAPL", "BAC")
AGENTS = {"signals": lambda: ExecutionAgent(Settings()), "executions": PortfolioAgent}
OTHER: tuple[Any, ...] = (
    None,
    True,
    "",
    "AAPL",
    "\u00e9",
    "x" * 33,
    [],
    {},
    0,
    -1,
    -0.0,
    0.5,
    5e-324,
    -1e308,
    1e308,
    1e15,
    1 << 31,
    1 << 53,
    (1 << 63) - 1,
    1 << 63,
    -(1 << 63),
    -(1 << 63) - 1,
    (1 << 64) - 1,
    1 << 64,
    10**30,
)
BYTES = (
    b'"',
    b"\\",
    b"\xff",
    b"\xed\xa0\x80",
    b"\x00",
    b"{",
    b"[",
    b"null",
    b"1e999",
    b"-",
    b"NaN",
    b"9" * 40,
    b"\\ud800",
)


def genuine() -> dict[str, list[bytes]]:
    """Records of the inner topics as the agents publish them, fills and all."""
    pipeline = Pipeline(Settings())
    for symbol in SYMBOLS:
        pipeline.controls.write(symbol, b'{"max_position_dollars":50000,"max_loss_dollars":1000}')
    chance = random.Random(1)
    rows = []
    for second in range(200):
        at = T0 + second * 10**9
        rows.append(Raw(clock_json(at)))
        for symbol in SYMBOLS:
            bid = 100 + chance.uniform(-2, 2)
            rows.append(Raw(quote_json(symbol, at + 1, bid, 300.0, bid + 0.02, 300.0)))
    pipeline.process(rows)
    pipeline.commit()
    assert pipeline.published("trades")
    return {topic: [v for name, _, v in pipeline.committed if name == topic] for topic in AGENTS}


GENUINE = genuine()
CONTROLS = [
    b'{"max_position_dollars":50000}',
    b'{"max_position_dollars":1,"lot_shares":2.5,"size_step":0.5,"min_fill_shares":1,"max_loss_dollars":9.5,"allow_short":false}',
    b'{"max_position_dollars":0,"state":"CLOSING","effective_from":1767623400000000000}',
    b'{"state":"HALTED"}',
]


def spoiled(draw: random.Random, value: bytes) -> bytes:
    """A record with a few fields changed or left out, or a few bytes damaged; now and then as it was."""
    if draw.random() < 0.6:
        record = orjson.loads(value)
        for _ in range(draw.choice((0, 1, 1, 1, 2, 4))):
            within = record
            name = draw.choice(list(within))
            if isinstance(within[name], dict) and within[name] and draw.random() < 0.8:
                within = within[name]
                name = draw.choice(list(within))
            if draw.random() < 0.1:
                del within[name]
            else:
                within[name] = draw.choice(OTHER)
            if not record:
                break
        return msgspec.json.encode(record)
    data = bytearray(value)
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(len(data) + 1)
        what = draw.randrange(5)
        if what == 0 and at < len(data):
            data[at] ^= 1 << draw.randrange(8)
        elif what == 1:
            data[at:at] = draw.choice(BYTES)
        elif what == 2:
            del data[at : at + draw.randint(1, 9)]
        elif what == 3:
            data[at : at + draw.randint(1, 9)] = draw.choice(BYTES)
        else:
            del data[at:]
    return bytes(data)


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for each in value.values():
            yield from numbers(each)
    elif isinstance(value, float):
        yield value


def taken(topic: str, values: list[bytes | None]) -> Collected:
    """What the agent behind a topic makes of its values."""
    stage = Stage(AGENTS[topic](), 0, 1, Stored())
    out = stage.process([Raw(value, b"AAPL") for value in values])
    stage.store(out.sent)
    assert stage.stored.counters["used"] + len(out.dead_letters) == len(values)
    # What was stored can be taken up again.
    Stage(AGENTS[topic](), 0, 1, stage.stored)
    return out


@pytest.mark.parametrize("topic", AGENTS)
@examples(150)
@given(st.lists(st.integers(0, 1 << 62), min_size=1, max_size=20))
def test_garbage_between_the_agents_is_set_aside(topic: str, seeds: list[int]) -> None:
    values: list[bytes | None] = []
    for seed in seeds:
        draw = random.Random(seed)
        values.append(spoiled(draw, draw.choice(GENUINE[topic])))
    out = taken(topic, values)
    for _topic, _key, value in out.sent:
        record = orjson.loads(value)
        assert all(math.isfinite(number) for number in numbers(record))


@pytest.mark.parametrize(
    ("topic", "changes"),
    [
        ("signals", {"ask": 0.0}),
        ("signals", {"bid": -1.0}),
        ("signals", {"mid": 1e300}),
        ("signals", {"ts": 1 << 63}),
        ("signals", {"symbol": "x" * 1_000_000}),
        ("signals", {"settings": "x" * 1_000_000}),
        ("executions", {"mid": 1e300}),
        ("executions", {"shares": 1e300}),
        ("executions", {"price": 0.0}),
    ],
)
def test_numbers_and_texts_beyond_all_bounds_are_set_aside(topic: str, changes: dict[str, Any]) -> None:
    record = GENUINE[topic][-1]
    out = taken(topic, [msgspec.json.encode(orjson.loads(record) | changes), record])
    assert [offset for offset, _, _ in out.dead_letters] == [0]


def test_a_fill_of_less_than_can_be_counted_is_none() -> None:
    record = orjson.loads(GENUINE["executions"][-1]) | {"shares": 5e-324, "side": "BUY", "price": 100.0}
    (_, _, value) = taken("executions", [msgspec.json.encode(record)]).sent[0]
    assert orjson.loads(value)["shares"] == 0


@pytest.mark.parametrize("topic", AGENTS)
def test_genuine_records_are_all_used(topic: str) -> None:
    assert taken(topic, list(GENUINE[topic])).dead_letters == []


@pytest.mark.parametrize("topic", AGENTS)
@pytest.mark.parametrize(
    "value",
    [None, b"", b"[" * 1_000_000, b'{"symbol":' * 100_000, b'{"symbol":"\xff"}', b'{"symbol":"\xed\xa0\x80"}'],
    ids=["null", "empty", "arrays", "objects", "no UTF-8", "surrogate"],
)
def test_what_no_json_decoder_likes_is_set_aside(topic: str, value: bytes | None) -> None:
    out = taken(topic, [value, GENUINE[topic][0]])
    assert [offset for offset, _, _ in out.dead_letters] == [0]
    assert out.sent


def test_the_largest_quantities_of_a_control_are_no_trouble() -> None:
    """The smallest fill that follows from the step would be beyond what is counted in."""
    pipeline = Pipeline(Settings())
    pipeline.controls.write(
        "AAPL", b'{"max_position_dollars":9e9,"size_step":9900000000,"lot_shares":9900000000,"max_loss_dollars":9e9}'
    )
    rows = [Raw(quote_json("AAPL", T0 + second * 10**9, 100.0, 1.0, 100.1, 1.0)) for second in range(100)]
    pipeline.process(rows)
    pipeline.commit()
    assert len(pipeline.published("executions")) == len(pipeline.published("signals")) > 0
    assert pipeline.dead_letters == []


@examples(300)
@given(st.integers(0, 1 << 62), st.sampled_from((b"AAPL", b"*", b"\xff", b"", b"x" * 33, None)))
def test_a_control_holds_as_it_is_written_or_not_at_all(seed: int, key: bytes | None) -> None:
    draw = random.Random(seed)
    value = spoiled(draw, draw.choice(CONTROLS))
    try:
        symbol, control = parse_control(key, value)
    except InvalidControl as error:
        assert 0 < len(str(error)) < 10_000
        return
    assert control is not None
    assert parse_control(symbol.encode(), encode_control(control)) == (symbol, control)
    assert all(math.isfinite(number) for number in numbers(msgspec.to_builtins(control)))
