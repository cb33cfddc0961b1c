"""The page on the real pipeline: what it shows is what the topics hold."""

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from tests.dashboard.desk import Desk
from tests.dashboard.pages import cell, open_page, open_tab, plot_data
from tests.dashboard.serving import Served
from tests.integration.pipeline import wait_until


def of(records: list[dict[str, Any]], symbol: str) -> list[dict[str, Any]]:
    return [record for record in records if record["symbol"] == symbol]


def test_predictions_plot_shows_every_record_of_preds(page: Page, desk: Desk, dashboard: Served) -> None:
    open_page(page, dashboard.url, symbol="GOOG")
    expect(page.locator(".mm-panel h2 b").first).to_have_text("GOOG")
    wait_until(lambda: len(plot_data(page)["drawn"][0]) > 200, "the plot to be filled")
    data = plot_data(page)
    times, bid, ask, mid, ema, low, high = data["drawn"]
    preds = [p for p in of(desk.pipeline.records("preds"), "GOOG") if times[0] <= p["ts"] / 1e9 <= times[-1]]
    expected = [[p["ts"] / 1e9, p["bid"], p["ask"], p["mid"], p["ema"], p["buy_below"], p["sell_above"]] for p in preds]
    assert [list(row) for row in zip(times, bid, ask, mid, ema, low, high, strict=True)] == expected
    assert times[0] == of(desk.pipeline.records("preds"), "GOOG")[0]["ts"] / 1e9


def test_executions_plot_shows_every_fill_and_the_position(page: Page, desk: Desk, dashboard: Served) -> None:
    open_page(page, dashboard.url, symbol="BAC")
    wait_until(lambda: len(plot_data(page)["executions"][0]) > 50, "the executions")
    times, after, filled, price = plot_data(page)["executions"]
    executions = [e for e in of(desk.pipeline.records("executions"), "BAC") if e["ts"] / 1e9 <= times[-1]]
    sign = {"BUY": 1, "SELL": -1, None: 1}
    assert times == [e["ts"] / 1e9 for e in executions]
    assert after == [e["position_after"] for e in executions]
    assert filled == [sign[e["side"]] * e["shares"] for e in executions]
    fills = [(t, p) for t, s, p in zip(times, filled, price, strict=True) if s]
    assert fills == [(e["ts"] / 1e9, e["price"]) for e in executions if e["shares"]]
    assert any(s > 0 for s in filled) and any(s < 0 for s in filled)


def test_plot_goes_on_with_new_records_and_loses_none(page: Page, desk: Desk, dashboard: Served) -> None:
    open_page(page, dashboard.url, symbol="AAPL")
    wait_until(lambda: len(plot_data(page)["predictions"][0]) > 100, "the plot to be filled")
    before = len(plot_data(page)["predictions"][0])
    wait_until(lambda: len(plot_data(page)["predictions"][0]) >= before + 5, "five more rows")
    times = plot_data(page)["predictions"][0]
    expected = [p["ts"] / 1e9 for p in of(desk.pipeline.records("preds"), "AAPL") if p["ts"] / 1e9 <= times[-1]]
    assert times == expected


def test_session_shows_the_same_records_on_request(page: Page, desk: Desk, dashboard: Served) -> None:
    open_page(page, dashboard.url, symbol="AAPL")
    wait_until(lambda: len(plot_data(page)["predictions"][0]) > 100, "the plot to be filled")
    page.get_by_role("button", name="Session").click()
    expect(page.get_by_role("button", name="Session")).to_have_attribute("aria-pressed", "true")
    before = len(plot_data(page)["predictions"][0])
    wait_until(lambda: len(plot_data(page)["predictions"][0]) >= before + 3, "rows after the session's")
    times = plot_data(page)["predictions"][0]
    assert times == [p["ts"] / 1e9 for p in of(desk.pipeline.records("preds"), "AAPL") if p["ts"] / 1e9 <= times[-1]]


def test_every_table_shows_its_topics_rows(page: Page, desk: Desk, dashboard: Served) -> None:
    open_page(page, dashboard.url)
    for name in ("ticks_bid_ask", "preds", "positions", "pnl", "orders", "money"):
        open_tab(page, name)
        for symbol in ("AAPL", "GOOG", "BAC"):
            expect(page.locator(f"[data-table='{name}'] .ag-row[row-id='{symbol}']").first).to_be_visible()
    for name in ("trades", "executions"):
        open_tab(page, name)
        expect(page.locator(f"[data-table='{name}'] .ag-row").first).to_be_visible()
    trade = desk.pipeline.trades()[-1]
    open_tab(page, "trades")
    expect(cell(page, "trades", trade["id"], "side")).to_have_text(trade["side"])
    expect(cell(page, "trades", trade["id"], "shares")).to_have_text(f"{trade['shares']:g}")


def test_table_sorts_and_filters(page: Page, dashboard: Served) -> None:
    open_page(page, dashboard.url, tab="positions")
    rows = page.locator("[data-table='positions'] .ag-pinned-left-cols-container .ag-row")
    expect(rows).to_have_count(3)
    page.locator("[data-table='positions'] .ag-header-cell-text", has_text="symbol").click()
    first = "[data-table='positions'] .ag-pinned-left-cols-container .ag-row[row-index='0'] .ag-cell"
    expect(page.locator(first)).to_have_text("AAPL")
    page.locator("[data-table='positions'] .ag-header-cell-text", has_text="symbol").click()
    expect(page.locator(first)).to_have_text("GOOG")
    page.get_by_label("Filter").fill("BA")
    expect(rows).to_have_count(1)
    expect(page.locator(first)).to_have_text("BAC")


def test_two_pages_show_the_same_and_leave_one_alone_when_one_goes(
    context: BrowserContext, desk: Desk, dashboard: Served
) -> None:
    one, two = context.new_page(), context.new_page()
    open_page(one, dashboard.url, symbol="AAPL")
    open_page(two, dashboard.url, symbol="GOOG")
    for page in (one, two):
        wait_until(lambda page=page: len(plot_data(page)["predictions"][0]) > 100, "the plots")
    one.close()
    before = len(plot_data(two)["predictions"][0])
    wait_until(lambda: len(plot_data(two)["predictions"][0]) >= before + 3, "the page that is left to go on")
    times = plot_data(two)["predictions"][0]
    assert times == [p["ts"] / 1e9 for p in of(desk.pipeline.records("preds"), "GOOG") if p["ts"] / 1e9 <= times[-1]]


def test_pan_zoom_pause_and_follow_by_keys(page: Page, dashboard: Served) -> None:
    open_page(page, dashboard.url, symbol="AAPL")
    wait_until(lambda: len(plot_data(page)["predictions"][0]) > 100, "the plot")
    width: Callable[[], float] = lambda: page.evaluate("() => mm.plots.range()[1] - mm.plots.range()[0]")  # noqa: E731
    whole = width()
    page.locator(".mm-panel .u-over").first.focus()
    page.keyboard.press("+")
    assert width() < whole
    left = page.evaluate("() => mm.plots.range()[0]")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("() => mm.plots.range()[0]") < left
    page.keyboard.press("Escape")
    assert page.evaluate("() => mm.plots.view") is None
    page.get_by_role("button", name="Pause").click()
    drawn = page.evaluate("() => mm.plots.charts[0].data[0].length")
    before = len(plot_data(page)["predictions"][0])
    wait_until(lambda: len(plot_data(page)["predictions"][0]) > before, "rows while it is paused")
    assert page.evaluate("() => mm.plots.charts[0].data[0].length") == drawn
    page.get_by_role("button", name="Resume").click()
    assert page.evaluate("() => mm.plots.charts[0].data[3].length") > drawn


def test_hover_names_the_values_under_the_pointer(page: Page, dashboard: Served) -> None:
    open_page(page, dashboard.url, symbol="AAPL")
    wait_until(lambda: len(plot_data(page)["predictions"][0]) > 100, "the plot")
    page.get_by_role("button", name="Pause").click()
    over = page.locator(".mm-panel .u-over").first
    box = over.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    index = page.evaluate("() => mm.plots.charts[0].cursor.idx")
    bid = plot_data(page)["drawn"][1][index]
    shown = page.locator(".mm-panel .u-legend").first.locator(".u-series").nth(1).locator(".u-value")
    expect(shown).to_have_text(f"{bid:,.4f}".rstrip("0").ljust(len(f"{bid:,.2f}"), "0"))
    page.mouse.move(0, 0)
    for legend in page.locator(".mm-panel .u-legend").all():
        expect(legend.locator(".u-value").first).to_have_text(re.compile(r"\d\d:\d\d:\d\d"))


def test_page_says_its_language_and_zone_and_uses_a_24_hour_clock(page: Page, dashboard: Served) -> None:
    open_page(page, dashboard.url)
    assert (page.locator("html").get_attribute("lang") or "").startswith("en")
    expect(page.locator(".mm-times")).to_contain_text("UTC")
    page.get_by_label("Times in").click()
    page.get_by_role("option", name="New York").click()
    expect(page.locator(".mm-times")).to_contain_text("New York time")


def test_page_asks_nothing_of_other_hosts(page: Page, dashboard: Served) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_page(page, dashboard.url)
    for name in ("trades", "machine"):
        page.get_by_role("tab", name=name, exact=True).click()
    assert [url for url in asked if not url.startswith((dashboard.url, "data:", "blob:"))] == []


def test_theme_is_kept_over_a_reload(page: Page, dashboard: Served) -> None:
    open_page(page, dashboard.url)
    dark = page.evaluate("() => document.body.classList.contains('body--dark')")
    page.get_by_role("button", name="Dark or light").click()
    page.wait_for_function("dark => document.body.classList.contains('body--dark') !== dark", arg=dark)
    page.reload()
    page.wait_for_function("dark => document.body.classList.contains('body--dark') !== dark", arg=dark)
