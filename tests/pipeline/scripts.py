"""Random histories of a desk, and the same history through the agents and through the reference."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from agents.strategy.moments import decay
from agents.strategy.session import Calendar
from agents.strategy.settings import LimitRule, Marks, Settings
from schemas.frames import encode_frame
from schemas.partitioning import partition_of
from schemas.times import NS
from tests.pipeline.offline import NO_TIMESTAMP, Pipeline, Raw, clock_json, quote_json
from tests.strategy.reference import DAY, Reference
from tests.strategy.reference_settings import ReferenceSettings

START = 1_767_623_400 * NS
SYMBOLS = ("AAPL", "BAC", "MSFT")
RECEIVED = START + 30 * DAY
"""Kafka's timestamp of most records: late enough for every history."""


@dataclass(frozen=True)
class Row:
    """A quote."""

    symbol: str
    ts: int
    bid: float
    bid_size: float
    ask: float
    ask_size: float
    kafka_ts: int = RECEIVED

    @property
    def values(self) -> tuple[int, float, float, float, float]:
        """Everything but the symbol, as columns have it."""
        return self.ts, self.bid, self.bid_size, self.ask, self.ask_size

    def json(self) -> Raw:
        """As a JSON record."""
        return Raw(quote_json(self.symbol, *self.values), self.symbol.encode(), self.kafka_ts // 1_000_000)


@dataclass(frozen=True)
class Tick:
    """A clock record."""

    ts: int
    feed: str = "a"
    end: bool = False
    kafka_ts: int = RECEIVED

    def json(self) -> Raw:
        """As a JSON record."""
        return Raw(clock_json(self.ts, self.feed, self.end), None, self.kafka_ts // 1_000_000)


@dataclass(frozen=True)
class Order:
    """A record of `controls`; no fields: a tombstone."""

    key: str
    fields: dict[str, Any] | None


@dataclass(frozen=True)
class Cut:
    """The end of a batch."""


Event = Row | Tick | Order | Cut
History = Sequence[Event]


@dataclass(frozen=True)
class Rules:
    """Settings with the sessions of an exchange, if any."""

    settings: Settings
    sessions: tuple[tuple[int, int], ...] = ()

    @property
    def calendar(self) -> Calendar:
        """The sessions as the kernels take them."""
        opens, closes = (np.array([s[i] for s in self.sessions], np.int64) for i in (0, 1))
        closing_ns = round(self.settings.close_minutes * 60 * NS)
        return Calendar(opens, np.maximum(opens, closes - closing_ns), closes)

    def reference(self) -> Reference:
        """A reference of the same rules, with the kernels' exp so that bits agree."""
        fields = {name: getattr(self.settings, name) for name in ReferenceSettings.__dataclass_fields__}
        fields["session"] = "some exchange" if self.sessions else None
        return Reference(ReferenceSettings(**fields), exp=decay, sessions=self.sessions)


# -- what is drawn ------------------------------------------------------------------------------------------------

GAPS = (0, 1, NS // 4, NS, 3 * NS, 7 * NS, 10 * NS - 1, 10 * NS, 17 * NS)
LONG_GAPS = (59 * NS, 60 * NS, 60 * NS + 1, 71 * NS, 301 * NS)
DAYS = (600 * NS, 3600 * NS, DAY - 1, DAY, DAY + 600 * NS, 2 * DAY)
BAD_ROWS: tuple[dict[str, Any], ...] = (
    {"bid": 0.0},
    {"ask": -1.0},
    {"bid_size": 0.0},
    {"ask_size": -5.0},
    {"bid": math.nan},
    {"ask_size": math.inf},
    {"ts": 5},
    {"ts": -5},
    {"ts": (1 << 63) - 1, "kafka_ts": NO_TIMESTAMP},
    {"bid": 1e300},
    {"kafka_ts": START - 40 * DAY},
    {"bid": 0.0, "ask_size": -5.0},
)
STATES = ("ACTIVE", "ACTIVE", "REDUCING", "CLOSING", "HALTED")


class Dice:
    """Choices from drawn bytes, one each; far cheaper than as many draws, and it shrinks as well."""

    def __init__(self, drawn: bytes) -> None:
        self._rest = iter(drawn)

    def pick(self, options: Sequence[Any]) -> Any:
        """One of the options."""
        return options[next(self._rest) % len(options)]


@dataclass
class Times:
    """Where the market is, and how long its silences are."""

    long_gaps: Sequence[int]
    now: int = START

    def pass_(self, gap: int, snap: bool) -> int:
        """Move on by a gap, to a decision time if asked to."""
        self.now += gap
        if snap:
            self.now = -(-self.now // (10 * NS)) * 10 * NS
        return self.now


def a_row(dice: Dice, times: Times, symbols: Sequence[str]) -> Row:
    """One quote: usable nine times of ten."""
    symbol = dice.pick(symbols)
    kind = dice.pick(range(30))
    ts = times.pass_(dice.pick(times.long_gaps if kind == 1 else GAPS), snap=kind == 2)
    mid = 100.0 + dice.pick(range(-8, 9)) * 0.25
    half = dice.pick((0.01, 0.01, 0.005, 0.0, -0.02))
    size = dice.pick((500.0, 500.0, 40.0, 3.5, 0.00012345))
    row = Row(symbol, ts, mid - half, size, mid + half, size)
    if kind == 3:
        return replace(row, ts=ts - dice.pick((1, NS, 100 * NS)))
    if kind == 4:
        return replace(row, **dice.pick(BAD_ROWS))
    return row


BURST_GAPS = (0, 0, 1, NS // 1000, NS // 100, NS // 10, NS // 2, NS)


def a_burst(dice: Dice, times: Times, symbols: Sequence[str]) -> list[Row]:
    """Many quotes of one symbol in a row, such as the kernel takes at a time; now and then one of another, or bad."""
    symbol, most = dice.pick(symbols), dice.pick((9, 20, 60))
    gaps = BURST_GAPS[: 1 + dice.pick(range(len(BURST_GAPS)))]
    spoilt = dice.pick((0, 0, 10))
    shuffle = random.Random(dice.pick(range(256)) * 256 + dice.pick(range(256)))
    rows = []
    for _ in range(most):
        ts = times.pass_(shuffle.choice(gaps), snap=False)
        mid = 100.0 + shuffle.randint(-8, 8) * 0.25
        row = Row(symbol, ts, mid - 0.01, 500.0, mid + shuffle.choice((0.01, 0.01, -0.02)), 500.0)
        if shuffle.randrange(100) < spoilt:
            changes = shuffle.choice((*BAD_ROWS, {"symbol": symbols[0]}, {"ts": ts - 1}, {"ts": ts - NS}))
            row = replace(row, **changes)
        rows.append(row)
    return rows


def a_tick(dice: Dice, times: Times) -> Tick:
    """One clock record of one of two feeds."""
    kind = dice.pick(range(12))
    if kind < 6:
        times.pass_(dice.pick(times.long_gaps if kind == 1 else GAPS), snap=kind == 2)
    ts = times.now - dice.pick((0, 0, 0, 1, 5 * NS, 100 * NS))
    feed = dice.pick("aaab")
    if kind == 7:
        return Tick(dice.pick((5, -5, ts)), feed, kafka_ts=START - 40 * DAY)
    return Tick(ts, feed, end=kind == 8)


def a_control(dice: Dice) -> dict[str, Any]:
    """A valid control, without its time."""
    fields: dict[str, Any] = {
        "max_position_dollars": dice.pick((10_000.0, 10_000.0, 25_000.5, 0.0, 999.0)),
        "lot_shares": dice.pick((100.0, 30.0, 3.0, 55.55)),
        "size_step": dice.pick((1.0, 1.0, 0.01, 0.00001, 3.0)),
        "max_loss_dollars": dice.pick((None, None, 0.01, 5.0)),
        "allow_short": dice.pick((True, True, False)),
        "state": dice.pick(STATES),
    }
    minimum = dice.pick((None, 0.0, 1.0, 25.0))
    return fields if minimum is None else {**fields, "min_fill_shares": minimum}


def an_order(dice: Dice, times: Times, symbols: Sequence[str]) -> Order:
    """One record of `controls`: a control, `*`, or a tombstone of either."""
    key = dice.pick((*symbols, *symbols, "*"))
    if dice.pick(range(5)) == 0:
        return Order(key, None)
    delay = dice.pick((None, None, -20 * NS, 0, 15 * NS, 20 * NS, 65 * NS, 400 * NS))
    fields = {"state": dice.pick(STATES)} if key == "*" else a_control(dice)
    if delay is not None:
        fields["effective_from"] = times.now + delay
    return Order(key, fields)


BYTES_OF_AN_EVENT = 12


@st.composite
def histories(draw: st.DrawFn, most: int = 70, long_gaps: Sequence[int] = LONG_GAPS) -> list[Event]:
    """Quotes, clocks, controls and ends of batches; most begin with a control for each symbol."""
    symbols, times = SYMBOLS, Times(long_gaps)
    events: list[Event] = []
    if draw(st.integers(0, 3)) < 3:
        events += [Order(symbol, {"max_position_dollars": 10_000.0}) for symbol in symbols]
    each = st.binary(min_size=BYTES_OF_AN_EVENT, max_size=BYTES_OF_AN_EVENT)
    at_least = draw(st.integers(1, most))  # lists alone would be short
    for drawn in draw(st.lists(each, min_size=at_least, max_size=most)):
        dice = Dice(drawn)
        kind = dice.pick(range(20))
        if kind == 0 and dice.pick(range(4)) == 0:
            events += a_burst(dice, times, symbols)
        elif kind < 14:
            events.append(a_row(dice, times, symbols))
        elif kind < 17:
            events.append(a_tick(dice, times))
        elif kind < 18:
            events += [Cut(), an_order(dice, times, symbols)]
        else:
            events.append(Cut())
    return events


@st.composite
def rules(draw: st.DrawFn, decision_seconds: Sequence[int] = (10, 10, 1, 7)) -> Rules:
    """Settings of every kind, quick to warm up so that short histories trade."""
    if draw(st.integers(0, 5)) == 0:
        warmup = draw(st.sampled_from((0.0, 60.0)))
        return Rules(
            msgspec.structs.replace(
                Settings.original(), warmup_seconds=warmup, decision_seconds=max(10, *decision_seconds)
            )
        )
    drawn = Settings(
        tau_seconds=draw(st.sampled_from((60.0, 10.0, 0.3, 1 / 3))),
        band_sd=draw(st.sampled_from((1.0, 0.0, 0.3, 0.3))),
        decision_seconds=draw(st.sampled_from(decision_seconds)),
        mark_seconds=draw(st.sampled_from((1, 1, 10, 13))),
        warmup_seconds=draw(st.sampled_from((0.0, 0.0, 5.0, 60.0))),
        gap_taus=draw(st.sampled_from((5.0, 5.0, 0.7, None))),
        max_quote_age_seconds=draw(st.sampled_from((60.0, 60.0, 3.0, 0.5, None))),
        future_seconds=draw(st.sampled_from((5.0, 0.0))),
        marks=draw(st.sampled_from(list(Marks))),
        limit_rule=draw(st.sampled_from((LimitRule.CLIP, LimitRule.CLIP, LimitRule.OVERSHOOT))),
        cap_by_size=draw(st.booleans()),
        fee_per_share=draw(st.sampled_from((0.0, 0.0035))),
        fee_bps=draw(st.sampled_from((0.0, 0.7))),
        close_minutes=draw(st.sampled_from((10.0, 1.0, 0.3))),
    )
    if draw(st.integers(0, 2)):
        return Rules(drawn)
    length = draw(st.sampled_from((120 * NS, 900 * NS)))
    return Rules(drawn, tuple((START + i * 1000 * NS, START + i * 1000 * NS + length) for i in range(3)))


# -- running ------------------------------------------------------------------------------------------------------


def value_of(order: Order) -> bytes | None:
    """The order's value in the topic."""
    return None if order.fields is None else msgspec.json.encode(order.fields)


def received(event: Row | Tick) -> int | None:
    """The record's Kafka timestamp in ns, None where it has none."""
    return event.kafka_ts // 1_000_000 * 1_000_000 if event.kafka_ts >= 0 else None


def run_reference(history: History, rules: Rules) -> Reference:
    """The whole history through the reference. A control is read where it stands."""
    desk = rules.reference()
    version = 0
    for event in history:
        match event:
            case Row():
                desk.quote(event.symbol, *event.values, received(event))
            case Tick():
                desk.clock(event.ts, event.feed, event.end, received(event))
            case Order():
                desk.control(event.key, version, event.fields)
                version += 1
    return desk


def batches(history: History) -> Iterable[list[Row | Tick] | Order]:
    """The history in batches; a control ends one, as agents read controls before a batch."""
    batch: list[Row | Tick] = []
    for event in history:
        if isinstance(event, (Row, Tick)):
            batch.append(event)
            continue
        if batch:
            yield batch
            batch = []
        if isinstance(event, Order):
            yield event
    if batch:
        yield batch


def as_json(batch: Iterable[Row | Tick]) -> list[Raw]:
    """One record for each event; what JSON cannot say becomes a frame."""
    return [event.json() if _is_json(event) else as_frame([event]) for event in batch]


def as_frames(batch: Iterable[Row | Tick]) -> list[Raw]:
    """Runs of quotes of one Kafka timestamp as frames, clocks as JSON."""
    records: list[Raw] = []
    run: list[Row] = []
    for event in batch:
        if run and (isinstance(event, Tick) or event.kafka_ts != run[0].kafka_ts):
            records.append(as_frame(run))
            run = []
        if isinstance(event, Tick):
            records.append(event.json())
        else:
            run.append(event)
    return [*records, as_frame(run)] if run else records


def as_frame(run: Sequence[Any]) -> Raw:
    """Quotes of one Kafka timestamp as one Arrow record."""
    symbols = sorted({row.symbol for row in run})
    numbers = np.array([symbols.index(row.symbol) for row in run], np.int32)
    ts, *prices = (np.array(column) for column in zip(*(row.values for row in run), strict=True))
    value = encode_frame(symbols, numbers, ts.astype(np.int64), [price.astype(float) for price in prices])
    return Raw(value, None, run[0].kafka_ts // 1_000_000)


def _is_json(event: Row | Tick) -> bool:
    return isinstance(event, Tick) or all(math.isfinite(value) for value in event.values)


def run_agents(
    history: History,
    rules: Rules,
    partitions: int = 1,
    encode: Callable[[Iterable[Row | Tick]], list[Raw]] = as_json,
    after_batch: Callable[[Pipeline, int], None] = lambda pipeline, _number: pipeline.commit(),
) -> Pipeline:
    """The whole history through the agents; clocks go to every partition."""
    pipeline = Pipeline(rules.settings, partitions, rules.calendar)
    for number, batch in enumerate(batches(history)):
        if isinstance(batch, Order):
            pipeline.controls.write(batch.key, value_of(batch))
            continue
        for partition in range(partitions):
            pipeline.process(encode(part_of(batch, partition, partitions)), partition)
        after_batch(pipeline, number)
    pipeline.commit()
    return pipeline


def part_of(batch: Iterable[Row | Tick], partition: int, partitions: int) -> list[Row | Tick]:
    """What a partition of the quotes gets of a batch."""
    return [e for e in batch if isinstance(e, Tick) or partition_of(e.symbol, partitions) == partition]


# -- comparing ----------------------------------------------------------------------------------------------------

Result = dict[str, Any]


def _nulls(record: Result, without: tuple[str, ...] = ()) -> Result:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in record.items()
        if name not in without
    }


def _by_symbol(records: Iterable[Result]) -> dict[str, list[Result]]:
    sorted_out: dict[str, list[Result]] = {}
    for record in records:
        sorted_out.setdefault(record["symbol"], []).append(record)
    return sorted_out


def result_of_agents(pipeline: Pipeline) -> Result:
    """Everything observable, by symbol (the order across symbols is nobody's promise)."""
    result: Result = {
        topic: _by_symbol(_nulls(record, ("time", "settings")) for record in pipeline.published(topic))
        for topic in ("ticks_bid_ask", "preds", "signals", "executions", "trades", "pnl")
    }
    result["positions"] = {k: _nulls(row, ("time",)) for k, row in pipeline.latest("positions").items()}
    result["orders"] = {k: _nulls(row, ("time",)) for k, row in pipeline.latest("orders").items()}
    result["counters"] = {name: count for name, count in pipeline.counters().items() if count}
    return result


_TICK = ("symbol", "ts", "bid", "bid_size", "ask", "ask_size")
_PRED = ("symbol", "ts", "bid", "ask", "mid", "ema", "sd", "buy_below", "sell_above", "warm")


def result_of_reference(desk: Reference) -> Result:
    """The same of the reference."""
    result: Result = {
        "ticks_bid_ask": _by_symbol(_nulls({name: mark[name] for name in _TICK}) for mark in desk.marks),
        "preds": _by_symbol(_nulls({name: mark[name] for name in _PRED}) for mark in desk.marks),
        "signals": _by_symbol(_nulls(record) for record in desk.signals),
        "executions": _by_symbol(_nulls(record) for record in desk.executions),
        "trades": _by_symbol(_nulls(record) for record in desk.trades),
        "positions": {symbol: _nulls(row) for symbol, row in desk.positions.items()},
        "pnl": {symbol: _nulls(row) for symbol, row in desk.pnl.items()},
        "counters": {name: count for name, count in desk.counts.items() if count},
    }
    result["orders"] = {
        symbol: _order(result["signals"][symbol][-1], result["executions"][symbol][-1], row["state"])
        for symbol, row in result["positions"].items()
    }
    return result


def _order(signal: Result, execution: Result, state: str) -> Result:
    """The row of `orders` that belongs to a signal and what came of it."""
    control, position = signal["control"], execution["position_after"]
    copied = ("symbol", "ts", "verdict", "reason", "bid", "ask", "buy_below", "sell_above")
    return {name: signal[name] for name in copied} | {
        "outcome": execution["outcome"],
        "outcome_reason": execution["reason"] if execution["outcome"] != "NONE" else None,
        "position": position,
        "room_dollars": max(0.0, control["max_position_dollars"] - abs(position) * signal["mid"]),
        "state": state,
    }


def assert_same(agents: Result, reference: Result) -> None:
    """Equal in every field and bit; the reference keeps only the latest `pnl`."""
    latest = {symbol: rows[-1] for symbol, rows in agents["pnl"].items()}
    for name in reference:
        ours = latest if name == "pnl" else agents[name]
        assert ours == reference[name], name


def assert_equal(first: Result, second: Result) -> None:
    """Two results of the agents are the same, whole."""
    for name in first:
        assert first[name] == second[name], name


def examples(number: int) -> Any:
    """Settings of a property test; MM_FUZZ=50 tries 50 times as many examples."""
    return settings(
        max_examples=number * int(os.environ.get("MM_FUZZ", "1")),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
