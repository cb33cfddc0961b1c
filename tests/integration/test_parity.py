"""One result: the same quotes and controls give the same trades to the bit, however they are run."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pytest

from agents.feeds.files import read_quotes
from agents.strategy.settings import Settings
from agents.stream.runner import RunnerSettings
from schemas.controls import encode_control
from schemas.frames import encode_frame
from schemas.partitioning import partition_of
from schemas.records import Control
from schemas.times import NS
from schemas.topics import QUOTES
from tests.integration import golden, market
from tests.integration.pipeline import Pipeline, json_records, trades_hash
from tests.pipeline import offline

Rows = Sequence[dict[str, Any]]


class Way(NamedTuple):
    """One way of running the same input."""

    partitions: int
    wire: str
    batch_records: int
    processes: int
    shuffled: bool


SHORT = (
    Way(1, "json", 10_000, 1, False),
    Way(3, "json", 7, 1, True),
    Way(8, "arrow", 10_000, 3, False),
    Way(3, "arrow", 1, 1, True),
    Way(8, "json", 10_000, 3, True),
)
WHOLE = tuple(
    Way(partitions, wire, batch, processes, shuffled)
    for partitions in (1, 3, 8)
    for wire in ("json", "arrow")
    for batch, processes, shuffled in ((10_000, 1, False), (7, 1, True), (10_000, 3, True), (1, 1, False))
)
CONTROLS = {symbol: Control(max_position_dollars=100_000) for symbol in market.SYMBOLS}
CRYPTO = Control(max_position_dollars=10_000, size_step=0.00001, lot_shares=0.01)


@pytest.fixture(scope="module")
def made_up() -> tuple[Rows, dict[str, Control]]:
    """A seeded market, and Deephaven's edge cases behind it under other names."""
    later = market.START + 10_000 * NS
    edge = [
        {**row, "symbol": "X" + row["symbol"], "ts": row["ts"] + later - market.START}
        for row in golden.quotes("edge")
        if "symbol" in row
    ][:4000]
    rows = [*market.quotes(seconds=400, end=False), *edge]
    rows.append({"clock": rows[-1]["ts"], "feed": "test", "end": True})
    return rows, CONTROLS | {"X" + symbol: control for symbol, control in golden.controls().items()}


@pytest.mark.parametrize("way", SHORT, ids=str)
def test_every_way_gives_the_trades_of_the_strategy_without_kafka(
    way: Way, made_up: tuple[Rows, dict[str, Control]], pipeline: Callable[..., Pipeline]
) -> None:
    rows, controls = made_up
    wanted = without_kafka(rows, controls)
    found = with_kafka(way, rows, controls, pipeline)
    assert {trade["symbol"] for trade in wanted} == controls.keys()
    print(f"{way}: {trades_hash(found)}, {len(found)} trades")
    assert trades_hash(found) == trades_hash(wanted)


DATA = os.environ.get("MM_TEST_DATA")
SHARED = Path(__file__).parents[3] / "shared" / "data" / "quotes"
"""Real days that lie beside the repository on some machines."""
SELECTED = ("BAC_2013-10-07", "SPY_2013-10-07", "BTCUSDT_2024-08-08")
SELECTED_ROWS = 20_000
SELECTION = (Way(1, "json", 10_000, 1, False), Way(3, "json", 7, 1, True), Way(8, "arrow", 10_000, 3, True))


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real quotes in {SHARED}")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", SELECTION, ids=str)
def test_a_selection_of_real_quotes_gives_the_same_trades(way: Way, pipeline: Callable[..., Pipeline]) -> None:
    rows, controls, wanted = real_days([SHARED / f"{name}.csv.gz" for name in SELECTED], SELECTED_ROWS)
    found = with_kafka(way, rows, controls, pipeline, seconds=300)
    print(f"{way}: {trades_hash(found)}, {len(found)} trades")
    assert trades_hash(found) == wanted


@pytest.mark.skipif(DATA is None, reason="MM_TEST_DATA names no folder of quote files (./mm check parity FOLDER)")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", WHOLE, ids=str)
def test_real_days_give_the_same_trades_every_way(way: Way, pipeline: Callable[..., Pipeline]) -> None:
    files = (path for path in Path(str(DATA)).rglob("*") if path.name.endswith((".csv", ".csv.gz", ".parquet")))
    rows, controls, wanted = real_days(sorted(files))
    found = with_kafka(way, rows, controls, pipeline, seconds=1800)
    print(f"{way}: {trades_hash(found)}, {len(found)} trades")
    assert trades_hash(found) == wanted


_real: dict[str, tuple[Rows, dict[str, Control], str]] = {}


def real_days(files: Sequence[Path], first: int | None = None) -> tuple[Rows, dict[str, Control], str]:
    """Rows of files, all or the first so many of each symbol, by time, and the hash of their trades without Kafka."""
    key = f"{files} {first}"
    if key not in _real:
        rows = [
            dict(zip(("symbol", "ts", "bid", "bid_size", "ask", "ask_size"), row, strict=True))
            for chunk in read_quotes(files)
            for row in zip(
                [chunk.symbols[n] for n in chunk.number.tolist()],
                chunk.ts.tolist(),
                *(column.tolist() for column in chunk.prices),
                strict=True,
            )
        ]
        seen: Counter[str] = Counter()
        if first is not None:
            rows = [row for row in rows if seen[row["symbol"]] < first and not seen.update([row["symbol"]])]
        rows = list(with_clocks(rows))
        symbols = sorted({row["symbol"] for row in rows if "symbol" in row})
        controls = {s: CRYPTO if s.endswith("USDT") else Control(max_position_dollars=100_000) for s in symbols}
        wanted = without_kafka(rows, controls)
        assert {trade["symbol"] for trade in wanted} == set(symbols)
        _real[key] = rows, controls, trades_hash(wanted)
    return _real[key]


def with_clocks(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows with a clock each second of event time and one at the end."""
    ts = second = 0
    for row in rows:
        ts = row["ts"]
        if ts // NS > second:
            second = ts // NS
            yield {"clock": second * NS, "feed": "test"}
        yield row
    yield {"clock": ts, "feed": "test", "end": True}


def without_kafka(rows: Rows, controls: dict[str, Control]) -> list[dict[str, Any]]:
    desk = offline.Pipeline(Settings())
    for symbol, control in controls.items():
        desk.controls.write(symbol, encode_control(control))
    records = [offline.Raw(orjson.dumps(row)) for row in rows]
    for first in range(0, len(records), 10_000):
        desk.process(records[first : first + 10_000])
    desk.commit()
    return desk.published("trades")


def with_kafka(
    way: Way, rows: Rows, controls: dict[str, Control], pipeline: Callable[..., Pipeline], seconds: float = 90
) -> list[dict[str, Any]]:
    desk = pipeline(partitions=way.partitions, runner_settings=RunnerSettings(batch_records=way.batch_records))
    for symbol, control in controls.items():
        desk.control(symbol, control)
    if way.shuffled:
        rows = shuffled_between_clocks(rows)
    records = json_records if way.wire == "json" else arrow_records
    desk.publish(QUOTES.name, records(rows, way.partitions))
    for number in range(way.processes):
        for role in ("signals", "execution", "portfolio"):
            desk.start(role, str(number))
    desk.wait_until_drained(seconds)
    trades = desk.trades()
    desk.stop()
    return trades


def shuffled_between_clocks(rows: Rows) -> list[dict[str, Any]]:
    """Quotes of different symbols in another order between clocks, each symbol's own order kept."""
    chance = random.Random(5)
    result: list[dict[str, Any]] = []
    stretch: dict[str, list[dict[str, Any]]] = {}

    def flush() -> None:
        turns = [symbol for symbol, quotes in stretch.items() for _ in quotes]
        chance.shuffle(turns)
        queues = {symbol: iter(quotes) for symbol, quotes in stretch.items()}
        result.extend(next(queues[symbol]) for symbol in turns)
        stretch.clear()

    for row in rows:
        if "clock" in row:
            flush()
            result.append(row)
        else:
            stretch.setdefault(row["symbol"], []).append(row)
    flush()
    return result


def arrow_records(rows: Rows, partitions: int) -> Iterator[tuple[int, bytes | None, bytes | None]]:
    """The rows as frames of at most 250, each before the next clock."""
    waiting: dict[int, list[dict[str, Any]]] = {partition: [] for partition in range(partitions)}
    for row in rows:
        if "clock" in row:
            yield from ((p, None, frame(quotes)) for p, quotes in waiting.items() if quotes)
            waiting = {partition: [] for partition in range(partitions)}
            yield from ((p, None, orjson.dumps(row)) for p in range(partitions))
            continue
        partition = partition_of(row["symbol"], partitions)
        waiting[partition].append(row)
        if len(waiting[partition]) == 250:
            yield partition, None, frame(waiting[partition])
            waiting[partition] = []


def frame(quotes: Rows) -> bytes:
    symbols = sorted({quote["symbol"] for quote in quotes})
    return encode_frame(
        symbols,
        np.array([symbols.index(quote["symbol"]) for quote in quotes], np.int32),
        np.array([quote["ts"] for quote in quotes], np.int64),
        [np.array([quote[name] for quote in quotes], float) for name in ("bid", "bid_size", "ask", "ask_size")],
    )
