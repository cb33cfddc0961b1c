"""Quotes of other formats into files by date and symbol."""

from __future__ import annotations

import datetime
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from agents.backtest.importers import READERS, CsvOptions, csv_reader, default_zone, import_files
from agents.backtest.synthetic import month_of_quotes
from agents.feeds.files import read_quotes
from agents.feeds.generator import WalkSettings
from agents.strategy.session import calendar_of
from agents.strategy.settings import Settings
from agents.stream.errors import BadConfiguration
from schemas.times import NS

MIDNIGHT = round(datetime.datetime(2012, 6, 21, 4, tzinfo=datetime.UTC).timestamp()) * NS
"""2012-06-21 00:00 in New York."""


def imported(kind: str, path: Path, folder: Path, zone: str | None = None, **options: Any) -> list[dict[str, Any]]:
    reader = csv_reader(CsvOptions(**options)) if kind == "csv" else READERS[kind]
    list(import_files(reader, [path], folder, zone or default_zone(kind)))
    return [row for file in sorted(folder.rglob("*.parquet")) for row in pq.ParquetFile(file).read().to_pylist()]


def zipped(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inside.csv", text)
    return path


def test_lobster(tmp_path: Path) -> None:
    book = tmp_path / "AAPL_2012-06-21_34200000_57600000_orderbook_2.csv"
    book.write_text("5859400,200,5853300,18,5859800,200,5853000,150\n9999999999,0,5853400,7,9999999999,0,1,1\n")
    messages = tmp_path / "AAPL_2012-06-21_34200000_57600000_message_2.csv"
    messages.write_text("34200.004241176,1,16113575,18,5853300,1\n34200.025551909,1,16113584,18,5853400,1\n")
    rows = imported("lobster", book, tmp_path / "data")
    assert rows[0] == {
        "symbol": "AAPL",
        "ts": MIDNIGHT + 34_200_004_241_176,
        "bid": 585.33,
        "bid_size": 18.0,
        "ask": 585.94,
        "ask_size": 200.0,
    }
    assert rows[1]["ts"] == MIDNIGHT + 34_200_025_551_909
    assert rows[1]["ask"] != rows[1]["ask"] and rows[1]["ask_size"] == 0
    messages.unlink()
    with pytest.raises(BadConfiguration, match="message file is missing"):
        imported("lobster", book, tmp_path / "data")


def test_lean_ticks_change_the_side_they_name(tmp_path: Path) -> None:
    lines = ["14400009.367,137450,100,0,0,P,1,0", "14400010,0,0,137500,300,P,1,0", "14400011,1,1,0,0,P,1,1"]
    path = zipped(
        tmp_path / "tick" / "bac" / "20120621_quote.zip", "\n".join([*lines, "14400012,137460,200,0,0,Q,1,0"])
    )
    rows = imported("lean", path, tmp_path / "data")
    assert [(row["ts"] - MIDNIGHT, row["bid"], row["bid_size"], row["ask"]) for row in rows[1:]] == [
        (14_400_010_000_000, 13.745, 100.0, 13.75),
        (14_400_012_000_000, 13.746, 200.0, 13.75),
    ]
    assert rows[0]["ts"] == MIDNIGHT + 14_400_009_367_000 and rows[0]["ask"] != rows[0]["ask"]
    assert {row["symbol"] for row in rows} == {"BAC"}


def test_lean_bars_are_stamped_at_their_end(tmp_path: Path) -> None:
    line = "34200000,100000,100000,100000,101000,5,102000,102000,102000,103000,6"
    path = zipped(tmp_path / "second" / "spy" / "20120621_quote.zip", line)
    assert imported("lean", path, tmp_path / "data") == [
        {
            "symbol": "SPY",
            "ts": MIDNIGHT + 34_201 * NS,
            "bid": 10.1,
            "bid_size": 5.0,
            "ask": 10.3,
            "ask_size": 6.0,
        }
    ]


@pytest.mark.parametrize("header", [True, False])
def test_binance_rows_are_put_in_order(tmp_path: Path, header: bool) -> None:
    names = "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n"
    lines = [
        "12,101.0,1.5,101.1,2.5,1705276800001,1705276800010",
        "10,100.0,1.0,100.1,2.0,1705276800000,1705276800005",
        "11,100.5,1.0,100.6,2.0,1705276800001,1705276800010",
    ]
    text = (names if header else "") + "\n".join(lines)
    rows = imported("binance", zipped(tmp_path / "ETHUSDT-bookTicker-2024-01-15.zip", text), tmp_path / "data")
    assert [(row["ts"], row["bid"]) for row in rows] == [
        (1_705_276_800_005_000_000, 100.0),
        (1_705_276_800_010_000_000, 100.5),
        (1_705_276_800_010_000_000, 101.0),
    ]
    assert (tmp_path / "data" / "date=2024-01-15" / "symbol=ETHUSDT").is_dir()


def test_csv_with_other_names_units_and_order(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("when,sym,b,bs,a,as\n1340251201.5,X,2,1,3,1\n1340251200,Y,5,1,6,1\n1340251200,X,1,1,2,\n")
    columns = {"ts": "when", "symbol": "sym", "bid": "b", "bid_size": "bs", "ask": "a", "ask_size": "as"}
    rows = imported("csv", path, tmp_path / "data", columns=columns, unit="s")
    assert [(row["symbol"], row["ts"], row["bid"]) for row in rows] == [
        ("X", 1_340_251_200 * NS, 1.0),
        ("X", 1_340_251_201_500_000_000, 2.0),
        ("Y", 1_340_251_200 * NS, 5.0),
    ]
    with pytest.raises(BadConfiguration, match="missing column ts"):
        imported("csv", path, tmp_path / "data")


def test_times_may_be_text(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("ts,bid,bid_size,ask,ask_size\n2012-06-21T13:30:00.000000001Z,1,1,2,1\n")
    rows = imported("csv", path, tmp_path / "data", symbol="X")
    assert rows[0]["ts"] == MIDNIGHT + 9 * 3600 * NS + 1800 * NS + 1


def test_dates_are_those_of_the_zone(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    evening = MIDNIGHT + 21 * 3600 * NS  # 01:00 of the next date in UTC
    path.write_text(f"ts,symbol,bid,bid_size,ask,ask_size\n{evening},X,1,1,2,1\n")
    imported("csv", path, tmp_path / "utc")
    imported("csv", path, tmp_path / "york", zone="America/New_York")
    assert [next(tmp_path.glob(f"{folder}/date=*")).name for folder in ("utc", "york")] == [
        "date=2012-06-22",
        "date=2012-06-21",
    ]


def test_a_synthetic_month_fills_the_sessions_and_is_always_the_same(tmp_path: Path) -> None:
    walks = WalkSettings(symbols=2, rate=0.05)
    days = [list(month_of_quotes(tmp_path / name, "2013-11", "XNYS", walks)) for name in ("a", "b")]
    assert days[0] == days[1] and len(days[0]) == 20
    calendar = calendar_of(Settings(session="XNYS"))
    for first, second in zip(
        sorted(tmp_path.glob("a/**/*.parquet")), sorted(tmp_path.glob("b/**/*.parquet")), strict=True
    ):
        assert first.read_bytes() == second.read_bytes()
        ts = pq.ParquetFile(first).read(["ts"]).column(0).to_numpy()
        session = ((calendar.opens - 300 * NS <= ts[0]) & (ts[-1] < calendar.closes + 300 * NS)).nonzero()[0]
        assert len(session) == 1


def test_files_of_one_name_lie_beside_each_other_and_the_same_one_replaces_itself(tmp_path: Path) -> None:
    head = "ts,symbol,bid,bid_size,ask,ask_size"
    sources = [tmp_path / "a" / "quotes.csv", tmp_path / "b" / "quotes.csv", tmp_path / "b" / "quotes.2.csv"]
    for bid, path in enumerate(sources, start=1):
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{head}\n{MIDNIGHT},X,{bid},1,9,1\n")
    for path in sources:
        imported("csv", path, tmp_path / "data")
    assert [row["bid"] for row in imported("csv", sources[0], tmp_path / "data")] == [1.0, 3.0, 2.0]
    sources[1].write_text(f"{head}\n{MIDNIGHT},X,5,1,9,1\n")
    assert [row["bid"] for row in imported("csv", sources[1], tmp_path / "data")] == [1.0, 3.0, 5.0]


def test_symbols_are_read_as_text_as_a_replay_reads_them(tmp_path: Path) -> None:
    symbols = ["005930", "1E5", "NA", "TRUE", "null"]
    for symbol in symbols:  # one a file: so each column would be taken for something else
        path = tmp_path / f"{symbol}.csv"
        path.write_text(f"ts,symbol,bid,bid_size,ask,ask_size\n{MIDNIGHT},{symbol},1,1,2,1\n")
        rows = imported("csv", path, tmp_path / "data")
    assert sorted(row["symbol"] for row in rows) == symbols
    replayed = [quotes.symbols[0] for symbol in symbols for quotes in read_quotes([tmp_path / f"{symbol}.csv"])]
    assert replayed == symbols


def test_rows_without_a_symbol_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text(f"ts,symbol,bid,bid_size,ask,ask_size\n{MIDNIGHT},X,1,1,2,1\n{MIDNIGHT},,1,1,2,1\n")
    with pytest.raises(BadConfiguration, match=r"q\.csv: there are rows without a symbol"):
        imported("csv", path, tmp_path / "data")
