"""What one setting does on quotes of files: state over dates, latency, fills, and no look ahead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agents.backtest import kernel
from agents.backtest.controls import ControlLine, same_for_all, stretches
from agents.backtest.task import tasks_of
from agents.backtest.variant import Options
from agents.strategy.settings import Settings
from schemas.records import Control, Execution, Trade
from schemas.times import NS
from tests.backtest import market
from tests.backtest.helpers import as_bytes, plan_of, records, run_tasks, table_of, write_quotes

ROWS = market.quotes()
CONTROLS = same_for_all(market.SYMBOLS, Control(max_position_dollars=8_000))
SETTINGS = Settings(band_sd=0.5)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_quotes(tmp_path / "data", ROWS)
    return tmp_path / "data"


def trades_of(data: Path, work: Path, settings: Settings = SETTINGS, **more: Any) -> list[dict[str, Any]]:
    return records(run_tasks(plan_of(data, work, CONTROLS, settings, **more))["trades"], Trade)


@pytest.mark.parametrize("latency", [0, 3 * NS])
def test_shifting_future_quotes_moves_no_past_decision(tmp_path: Path, data: Path, latency: int) -> None:
    moment = market.THANKSGIVING_EVE + 7_200 * NS
    changed = [row | {"bid": row["bid"] * 2, "ask": row["ask"] * 2} if row["ts"] >= moment else row for row in ROWS]
    write_quotes(tmp_path / "changed", changed)
    options = Options(latency_ns=latency, all_executions=True)
    before, after = (
        records(
            run_tasks(plan_of(folder, tmp_path / f"work-{folder.name}", CONTROLS, SETTINGS, options=options))[
                "executions"
            ],
            Execution,
        )
        for folder in (data, tmp_path / "changed")
    )
    # With latency a decision's fill belongs to the past when its order has met a quote.
    past = [[row for row in rows if row["ts"] + latency <= moment] for rows in (before, after)]
    assert len(past[0]) > 1_000
    assert as_bytes(past[0]) == as_bytes(past[1])
    assert as_bytes(before) != as_bytes(after)


def test_row_groups_and_file_layout_change_nothing(tmp_path: Path, data: Path) -> None:
    wanted = as_bytes(trades_of(data, tmp_path / "a"))
    write_quotes(tmp_path / "small", ROWS, row_group_size=37)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for date, rows in (("2013-11-27", ROWS[: len(ROWS)]),):
        of_date = [row for row in rows if row["ts"] < market.BLACK_FRIDAY - 3_600 * NS]
        pq.write_table(table_of(of_date), mixed / f"all-{date}.parquet", row_group_size=501)
    later = [row for row in ROWS if row["ts"] >= market.BLACK_FRIDAY - 3_600 * NS]
    # Two files of one date that overlap, with all symbols in both.
    pq.write_table(table_of(later[0::2]), mixed / "a-2013-11-29.parquet")
    pq.write_table(table_of(later[1::2]), mixed / "b-2013-11-29.parquet")
    assert as_bytes(trades_of(tmp_path / "small", tmp_path / "b")) == wanted
    assert len({row["ts"] for row in later}) < len(later)
    merged = trades_of(mixed, tmp_path / "c")
    assert as_bytes(merged[: len(wanted) // 2]) == wanted[: len(wanted) // 2]
    assert len(merged) == pytest.approx(len(wanted), rel=0.02)  # ties between the two files may fall otherwise


def test_state_is_carried_or_each_date_begins_anew(tmp_path: Path, data: Path) -> None:
    carried = trades_of(data, tmp_path / "a")
    anew = trades_of(data, tmp_path / "b", carry=False)
    first_day = [trade["ts"] < market.BLACK_FRIDAY - 3_600 * NS for trade in carried]
    assert carried[: sum(first_day)] == anew[: sum(first_day)]
    assert carried[sum(first_day) :] != anew[sum(first_day) :]
    alone = tmp_path / "friday"
    write_quotes(alone, [row for row in ROWS if row["ts"] >= market.BLACK_FRIDAY - 3_600 * NS])
    assert trades_of(alone, tmp_path / "c") == anew[sum(first_day) :]


def test_a_sweep_gives_what_its_settings_give_alone_and_reads_each_file_once(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept = [Settings(band_sd=band, tau_seconds=tau) for band in (0.5, 1.0) for tau in (30.0, 60.0)]
    alone = [as_bytes(trades_of(data, tmp_path / f"alone-{n}", settings)) for n, settings in enumerate(swept)]
    opened: list[str] = []
    plan = plan_of(data, tmp_path / "sweep", CONTROLS, *swept)

    def counted(path: str, **arguments: Any) -> Any:
        opened.append(path)
        return pq.core.ParquetFile(path, **arguments)

    monkeypatch.setattr("agents.backtest.reading.pq.ParquetFile", counted)
    table = run_tasks(plan)["trades"]
    assert [as_bytes(records(table, Trade, setting)) for setting in range(4)] == alone
    files = [file.path for task in tasks_of(plan) for file in task.part.files]
    assert sorted(path for path in opened if path in files) == sorted(files)


def test_latency_fills_at_the_quote_in_force_then_or_cancels(tmp_path: Path, data: Path) -> None:
    latency = 3 * NS
    options = Options(latency_ns=latency, all_executions=True)
    tables = run_tasks(plan_of(data, tmp_path / "late", CONTROLS, SETTINGS, options=options))
    direct = records(
        run_tasks(plan_of(data, tmp_path / "direct", CONTROLS, SETTINGS, options=Options(all_executions=True)))[
            "executions"
        ],
        Execution,
    )
    usable = [row for row in ROWS if min(row["bid"], row["ask"], row["bid_size"], row["ask_size"]) > 0]
    by_symbol = {s: [row for row in usable if row["symbol"] == s] for s in market.SYMBOLS}
    times = {s: np.array([row["ts"] for row in rows]) for s, rows in by_symbol.items()}
    trades = records(tables["trades"], Trade)
    moved = 0
    for trade in trades:
        rows = by_symbol[trade["symbol"]]
        met = rows[np.searchsorted(times[trade["symbol"]], trade["ts"] + latency) - 1]
        assert trade["price"] == (met["ask"] if trade["side"] == "BUY" else met["bid"])
        assert trade["quote_ts"] == met["ts"]
        moved += met["ts"] >= trade["ts"]
    cancelled = [row for row in tables["executions"].to_pylist() if row["cancelled"]]
    wanted = {(row["symbol"], row["ts"]): row["side"] for row in direct}
    assert moved > 50 and len(cancelled) > 20
    assert all(row["outcome"] == "NONE" for row in cancelled)
    assert all((row["symbol"], row["ts"]) in wanted for row in cancelled)


def test_no_latency_is_the_limit_of_small_latency(tmp_path: Path, data: Path) -> None:
    tiny = trades_of(data, tmp_path / "tiny", options=Options(latency_ns=1))
    # A quote exactly at the decision time is met by an order that is a nanosecond on its way.
    none = trades_of(data, tmp_path / "none")
    at_decision = {(row["symbol"], row["ts"]) for row in ROWS if row["ts"] % (10 * NS) == 0}
    differing = {(t["symbol"], t["ts"]) for t in none} ^ {(t["symbol"], t["ts"]) for t in tiny}
    if not at_decision:
        assert tiny == none
    assert len(differing) <= 10 * max(1, len(at_decision))


def test_displayed_size_caps_fills(tmp_path: Path, data: Path) -> None:
    capped = trades_of(data, tmp_path / "capped", Settings(band_sd=0.5, cap_by_size=True))
    quotes = {(row["symbol"], row["ts"], row["bid"], row["ask"]): row for row in ROWS}
    sizes = [trade["shares"] for trade in capped]
    assert min(sizes) < 100 == max(sizes)
    for trade in capped:
        side = "ask" if trade["side"] == "BUY" else "bid"
        shown = [row[f"{side}_size"] for key, row in quotes.items() if key[:2] == (trade["symbol"], trade["quote_ts"])]
        assert trade["shares"] <= max(shown)


@pytest.mark.parametrize("latency", [0, NS // 4, 3 * NS])
def test_markouts_are_the_mid_in_force_so_long_after_the_fill(tmp_path: Path, data: Path, latency: int) -> None:
    options = Options(latency_ns=latency)
    table = run_tasks(plan_of(data, tmp_path / "work", CONTROLS, SETTINGS, options=options))["trades"]
    usable = [row for row in ROWS if min(row["bid"], row["ask"], row["bid_size"], row["ask_size"]) > 0]
    known = 0
    for symbol in market.SYMBOLS:
        rows = [row for row in usable if row["symbol"] == symbol]
        times = np.array([row["ts"] for row in rows])
        for trade in (row for row in table.to_pylist() if row["symbol"] == symbol):
            for seconds in (1, 10, 60):
                if trade[f"mid_{seconds}s"] is None:
                    continue
                met = rows[np.searchsorted(times, trade["ts"] + latency + seconds * NS) - 1]
                assert trade[f"mid_{seconds}s"] == (met["bid"] + met["ask"]) * 0.5
                known += 1
    assert known > 500


@pytest.mark.parametrize("session", [None, "XNYS"])
def test_every_verdict_is_counted_by_what_became_of_it(tmp_path: Path, data: Path, session: str | None) -> None:
    settings = Settings(band_sd=0.5, session=session)
    sums = {}
    for latency in (0, 3 * NS):
        options = Options(latency_ns=latency, all_executions=True)
        tables = run_tasks(plan_of(data, tmp_path / f"{latency}", CONTROLS, settings, options=options))
        of_day = {name: sum(tables["days"][name].to_pylist()) for name in kernel.DAY.names if name != "max_exposure"}
        executions = tables["executions"].to_pylist()
        on_signal = [row["id"] for row in tables["trades"].to_pylist() if row["reason"] == "SIGNAL"]
        filled = [row["trade_id"] for row in executions if row["outcome"] == "FILLED"]
        assert of_day["filled"] == len(set(filled) & set(on_signal)) > 50
        assert (len(filled) > of_day["filled"]) == (session is not None)
        assert of_day["clipped"] == sum(row["outcome"] == "CLIPPED" for row in executions) > 0
        assert of_day["refused"] == sum(row["outcome"] == "REFUSED" for row in executions) > 0
        assert of_day["cancelled"] == sum(row["cancelled"] for row in executions)
        assert (of_day["cancelled"] > 20) == (latency > 0)
        wanted = of_day["buys_wanted"] + of_day["sells_wanted"]
        counted = sum(of_day[name] for name in ("filled", "clipped", "refused", "cancelled"))
        assert counted == wanted if session is None else counted <= wanted
        sums[latency] = of_day
    # What is predicted does not depend on what orders meet.
    for name in ("buys_wanted", "sells_wanted", "edge_bps_sum", "spread_bps_sum"):
        assert sums[0][name] == sums[3 * NS][name]


def test_a_tombstone_that_becomes_known_during_the_day_removes_the_symbol_once(tmp_path: Path, data: Path) -> None:
    moment = market.THANKSGIVING_EVE + 3_600 * NS
    lines = [*CONTROLS, ControlLine(key="AAA", control=None, version=9, known_from=moment)]
    options = Options(all_executions=True)
    table = run_tasks(plan_of(data, tmp_path / "work", lines, SETTINGS, options=options))["executions"]
    rows = [row for row in records(table, Execution) if row["symbol"] == "AAA" and row["ts"] >= moment]
    assert [row["reason"] for row in rows] == ["REMOVED"]


def test_a_version_that_waits_leaves_the_one_before_in_force() -> None:
    lines = [
        ControlLine(key="A", control=Control(max_position_dollars=1), version=0),
        ControlLine(key="A", control=Control(max_position_dollars=2, effective_from=200), version=1),
        ControlLine(key="A", control=Control(max_position_dollars=3, effective_from=100), version=2),
    ]
    found = [(s.start, s.control and s.control.max_position_dollars) for s in stretches("A", lines)]
    # Version 1 never holds: the newer one holds before it.
    assert [dollars for _, dollars in found] == [1, 3]
    assert found[1][0] == 100


def test_words_of_tables_are_strings(tmp_path: Path, data: Path) -> None:
    table = run_tasks(plan_of(data, tmp_path / "work", CONTROLS, SETTINGS))["trades"]
    assert table["side"].cast(pa.string()).unique().to_pylist() != []
