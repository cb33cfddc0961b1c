"""Money on the page is money in the topics; compared when the feed has fallen silent, so that both stand still."""

import math
import secrets
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from playwright.sync_api import Page, expect

from agents.dashboard.money import MOST_POINTS
from tests.dashboard.desk import SYMBOLS, Desk, silent_desk
from tests.dashboard.pages import cell, listen, open_page
from tests.dashboard.serving import Served, served
from tests.integration.pipeline import Pipeline, wait_until
from tests.kafka import Kafka


@pytest.fixture(scope="module")
def desk(kafka: Kafka) -> Iterator[Desk]:
    with silent_desk(kafka.bootstrap, f"t{secrets.token_hex(3)}-") as desk:
        yield desk


def latest(page: Page, got: list[Any], trades: int) -> dict[str, Any]:
    """The totals once the page has been told of all trades."""

    def complete() -> bool:
        page.wait_for_timeout(200)
        return bool(got) and got[-1]["totals"]["trades"] == trades

    wait_until(complete, "the totals of all trades")
    page.wait_for_timeout(1_000)
    totals: dict[str, Any] = got[-1]["totals"]
    return totals


def test_totals_are_those_of_pnl_marked_to_the_latest_tick(page: Page, desk: Desk, dashboard: Served) -> None:
    got = listen(page, "totals")
    open_page(page, dashboard.url)
    totals = latest(page, got, len(desk.pipeline.trades()))
    pnl, ticks = desk.pipeline.pnl(), desk.pipeline.table("ticks_bid_ask")
    held = [row for row in pnl.values() if row["shares"]]
    marks = {symbol: (tick["bid"] + tick["ask"]) / 2 for symbol, tick in ticks.items()}
    unrealised = math.fsum(row["shares"] * (marks[row["symbol"]] - row["average_cost"]) for row in held)
    realised, fees = (math.fsum(row[name] for row in pnl.values()) for name in ("realised", "fees"))
    assert held and fees > 0
    assert totals["realised"] == pytest.approx(realised, abs=1e-6)
    assert totals["fees"] == pytest.approx(fees, abs=1e-6)
    assert totals["unrealised"] == pytest.approx(unrealised, abs=1e-6)
    assert totals["net"] == pytest.approx(realised + unrealised - fees, abs=1e-6)
    assert totals["exposure"] == pytest.approx(sum(row["shares"] * marks[row["symbol"]] for row in held), abs=1e-6)
    assert totals["marked_ts"] == max(ticks[row["symbol"]]["ts"] for row in held)
    expect(page.locator("[data-total=fees]")).to_have_text(f"{fees:,.2f}")


def test_equity_curve_ends_at_the_published_net(page: Page, desk: Desk, dashboard: Served) -> None:
    got = listen(page, "totals")
    open_page(page, dashboard.url)
    totals = latest(page, got, len(desk.pipeline.trades()))
    changes = {ts: change for message in got for ts, change in message.get("all", message.get("put"))}
    published = math.fsum(row["net"] for row in desk.pipeline.pnl().values())
    assert totals["before"] + math.fsum(changes.values()) == pytest.approx(published, abs=1e-6)
    assert len(changes) > 100 and min(changes) < max(changes) - 100
    net, peak, deepest = totals["before"], -math.inf, 0.0
    for ts in sorted(changes):
        net += changes[ts]
        peak = max(peak, net)
        deepest = min(deepest, net - peak)
    assert deepest < 0
    expect(page.locator(".mm-equity b")).to_have_text(f"{deepest:,.2f}")


def test_money_of_each_symbol_is_shown(page: Page, desk: Desk, dashboard: Served) -> None:
    open_page(page, dashboard.url, tab="money")
    pnl, positions = desk.pipeline.pnl(), desk.pipeline.table("positions")
    for symbol in SYMBOLS:
        expect(cell(page, "money", symbol, "realised")).to_have_text(f"{pnl[symbol]['realised']:,.2f}")
        expect(cell(page, "money", symbol, "trades")).to_have_text(f"{positions[symbol]['trades']:,}")


def test_equity_ends_at_the_published_net_however_long_the_page_is_open(page: Page, kafka: Kafka, prefix: str) -> None:
    """More decision times than the curve keeps."""
    pipeline = Pipeline(kafka.bootstrap, prefix)
    pipeline.create_topics()
    pipeline.publish("executions", (decided(n, min(n, 8_000)) for n in range(MOST_POINTS - 10)))
    with served(kafka.bootstrap, prefix) as dashboard:
        page.goto(dashboard.url)
        wait_until(lambda: equity(page) == "8,000.00", "the points that are kept")
        pipeline.publish("executions", (decided(n, 8_001) for n in range(MOST_POINTS - 10, MOST_POINTS + 100)))
        wait_until(lambda: equity(page) == "8,001.00", "the points that follow", 30)
        page.close()


def decided(number: int, gain: float) -> tuple[int, bytes, bytes]:
    """The execution of a decision time that finds one share, a gain above its first mid, and fills nothing."""
    execution = {
        "symbol": "AAPL",
        "ts": 1_700_000_000_000_000_000 + 10_000_000_000 * number,
        "time": "",
        "quote_ts": 1_700_000_000_000_000_000,
        "outcome": "NONE",
        "reason": None,
        "side": None,
        "shares": 0,
        "price": None,
        "fee": 0,
        "position_before": 1,
        "position_after": 1,
        "mid": 100 + gain,
        "control_version": 0,
        "trade_id": None,
    }
    return 0, b"AAPL", orjson.dumps(execution)


def equity(page: Page) -> str:
    """What the curve says under the pointer at its right end, the last 60 points; nothing while it is empty."""
    canvas = page.locator(".mm-equity .mm-canvas")
    box = canvas.bounding_box()
    assert box is not None
    for back in (3, 2):
        page.mouse.move(box["x"] + box["width"] - back, box["y"] + box["height"] / 2)
    return (canvas.get_attribute("title") or "").partition("equity ")[2].partition(", ")[0]
