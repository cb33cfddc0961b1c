"""Every table shows its topic's records, value for value; compared when the feed has fallen silent."""

import secrets
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from playwright.sync_api import Page, expect

from agents.dashboard.tables import LAYOUTS
from schemas.partitioning import partition_of
from tests.dashboard.desk import Desk, running_desk, silent_desk
from tests.dashboard.pages import cell, listen, open_page, open_tab
from tests.dashboard.serving import Served, served
from tests.integration.pipeline import wait_until
from tests.kafka import Kafka

COLUMNS = {layout.name: [column.name for column in layout.columns] for layout in LAYOUTS}
MANY = 5_000


@pytest.fixture(scope="module")
def desk(kafka: Kafka) -> Iterator[Desk]:
    with silent_desk(kafka.bootstrap, f"t{secrets.token_hex(3)}-") as desk:
        yield desk


def shown(got: list[Any], name: str) -> list[dict[str, Any]]:
    """The rows that a page has been given, as records."""
    rows: dict[str, list[Any]] = {}
    for message in got:
        rows = {row[0]: row[1:] for row in message["all"]} if "all" in message else rows
        rows |= {row[0]: row[1:] for row in message.get("put", [])}
        rows = {row_id: row for row_id, row in rows.items() if row_id not in message.get("drop", [])}
    return [dict(zip(COLUMNS[name], row, strict=True)) for row in rows.values()]


def in_order(records: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Records with the table's columns alone, in an order of their own."""
    return sorted(
        ({column: record[column] for column in COLUMNS[name]} for record in records),
        key=lambda record: (record["symbol"], record["ts"]),
    )


@pytest.mark.parametrize("name", ["ticks_bid_ask", "preds", "positions", "pnl", "orders", "trades", "executions"])
def test_table_holds_what_its_topic_holds(page: Page, desk: Desk, dashboard: Served, name: str) -> None:
    got = listen(page, name)
    open_page(page, dashboard.url, tab=name)
    log = name in ("trades", "executions")
    records = desk.pipeline.records(name) if log else list(desk.pipeline.table(name).values())
    expected = in_order(records, name)
    assert len(expected) >= 3

    def same() -> bool:
        page.wait_for_timeout(200)
        return bool(got) and in_order(shown(got, name), name) == expected

    wait_until(same, f"{name} to be as its topic")


def test_newest_record_of_a_log_is_on_top(page: Page, desk: Desk, dashboard: Served) -> None:
    open_page(page, dashboard.url, tab="trades")
    newest = max(trade["ts"] for trade in desk.pipeline.trades())
    top = page.locator("[data-table='trades'] .ag-center-cols-container .ag-row[row-index='0']")
    expect(top).to_be_visible()
    assert (top.get_attribute("row-id") or "").endswith(str(newest))


def test_alert_shows_with_its_text(page: Page, desk: Desk, dashboard: Served) -> None:
    open_page(page, dashboard.url)
    open_tab(page, "alerts")
    expect(page.locator("[data-table='alerts']")).to_contain_text("no alerts")
    alert = {
        "id": "AAPL-turnover-1",
        "ts": 1_700_000_000_000_000_000,
        "time": "2023-11-14T22:13:20Z",
        "symbol": "AAPL",
        "rule": "turnover",
        "severity": "WARNING",
        "value": 2.0,
        "threshold": 1.0,
        "window_start": None,
        "window_seconds": None,
        "state": "RAISED",
        "text": "AAPL trades more than it should",
    }
    desk.pipeline.publish("alerts", [(1, b"AAPL", orjson.dumps(alert))])
    rows = page.locator("[data-table='alerts'] .ag-center-cols-container .ag-row")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("AAPL trades more than it should")
    expect(rows.first).to_contain_text("RAISED")


def test_thousands_of_rows_are_drawn_where_they_are_seen_only(page: Page, kafka: Kafka, prefix: str) -> None:
    with running_desk(kafka.bootstrap, prefix, past_seconds=10) as desk, served(kafka.bootstrap, prefix) as dashboard:
        names = [f"S{i:04d}" for i in range(MANY)]
        tick = {"ts": 1_700_000_000_000_000_000, "bid": 1.0, "bid_size": 2.0, "ask": 3.0, "ask_size": 4.0}
        desk.pipeline.publish(
            "ticks_bid_ask",
            ((partition_of(name, 4), name.encode(), orjson.dumps({"symbol": name, **tick})) for name in names),
        )
        got = listen(page, "ticks_bid_ask")
        open_page(page, dashboard.url, tab="ticks_bid_ask")

        def complete() -> bool:
            page.wait_for_timeout(200)
            return len(shown(got, "ticks_bid_ask")) >= MANY

        wait_until(complete, "all rows")
        rows = page.locator("[data-table='ticks_bid_ask'] .ag-center-cols-container .ag-row")
        expect(rows.first).to_be_visible()
        assert rows.count() < 100
        page.get_by_label("Filter").fill(names[-1])
        expect(rows).to_have_count(1)
        expect(cell(page, "ticks_bid_ask", names[-1], "ask")).to_have_text("3.00")
        page.close()


def test_page_is_told_at_most_four_times_a_second(page: Page, kafka: Kafka, prefix: str) -> None:
    with running_desk(kafka.bootstrap, prefix, past_seconds=10), served(kafka.bootstrap, prefix) as dashboard:
        got = listen(page, "ticks_bid_ask")
        open_page(page, dashboard.url, tab="ticks_bid_ask")
        wait_until(lambda: page.wait_for_timeout(100) is None and len(got) > 2, "the first frames")
        before, began = len(got), page.evaluate("() => performance.now()")
        page.wait_for_timeout(10_000)
        seconds = (page.evaluate("() => performance.now()") - began) / 1_000
        # Two may have been on their way when the count began.
        assert 0 < len(got) - before <= 4 * seconds + 2
        assert all("all" not in message for message in got[before:])
        page.close()


KEEP_LINE = """() => {
  const Plain = WebSocket;
  window.WebSocket = class extends Plain {
    constructor(...given) {
      super(...given);
      if (given[0].endsWith('/live')) window.line = this;
    }
  };
}"""
TELL = "messages => { for (const data of messages) line.onmessage({ data: JSON.stringify({ positions: data }) }); }"


def test_rows_that_wait_to_be_shown_do_not_land_on_a_snapshot(page: Page, desk: Desk, dashboard: Served) -> None:
    """The grid takes changes some milliseconds later, and a snapshot at once."""
    page.add_init_script(f"({KEEP_LINE})()")
    open_page(page, dashboard.url, tab="positions")
    expect(cell(page, "positions", "AAPL", "trades")).to_be_visible()
    positions = desk.pipeline.table("positions")

    def row(symbol: str, trades: int) -> list[Any]:
        return [symbol, *({**positions[symbol], "trades": trades}[column] for column in COLUMNS["positions"])]

    snapshot = [row(symbol, 222_222) for symbol in positions]
    page.evaluate(TELL, [{"put": [row("AAPL", 111_111)]}, {"all": snapshot}, {"put": [row("BAC", 333_333)]}])
    expect(cell(page, "positions", "BAC", "trades")).to_have_text("333,333")
    expect(cell(page, "positions", "GOOG", "trades")).to_have_text("222,222")
    assert cell(page, "positions", "AAPL", "trades").inner_text() == "222,222"
