"""Where things are: at any width, in both themes, and that nothing moves that has not changed."""

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.dashboard.desk import Desk
from tests.dashboard.pages import open_page, plot_data
from tests.dashboard.serving import Served
from tests.integration.pipeline import wait_until

TABS = ("controls", "ticks_bid_ask", "trades", "executions", "alerts", "money", "machine")


@pytest.mark.parametrize("width", [1920, 1280, 820, 390])
def test_page_fits_the_width(page: Page, dashboard: Served, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    open_page(page, dashboard.url)
    for name in TABS:
        tab = page.get_by_role("tab", name=name, exact=True)
        tab.scroll_into_view_if_needed()
        tab.click()
        expect(tab).to_have_attribute("aria-selected", "true")
        assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0, name


def test_everything_can_be_reached_on_a_phone(browser: Browser, desk: Desk, dashboard: Served) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    open_page(page, dashboard.url, symbol="AAPL")
    wait_until(lambda: len(plot_data(page)["predictions"][0]) > 100, "the plot")
    page.get_by_role("button", name="Pause").tap()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    page.get_by_role("button", name="Halt all").tap()
    box = page.locator(".mm-dialog").bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390
    page.get_by_role("button", name="Cancel").tap()
    plots = page.locator(".mm-panel").all()
    boxes = [plot.bounding_box() for plot in plots]
    assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
    context.close()


@pytest.mark.parametrize(("scheme", "dark"), [("dark", True), ("light", False)])
def test_theme_is_the_systems_at_first(browser: Browser, dashboard: Served, scheme: Any, dark: bool) -> None:
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    open_page(page, dashboard.url)
    page.wait_for_function("dark => document.body.classList.contains('body--dark') === dark", arg=dark)
    light = page.evaluate(
        "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).every(c => Number(c) > 200)"
    )
    assert light is not dark
    context.close()


def places(page: Page) -> list[dict[str, float]]:
    """Where plots and their buttons are."""
    boxes: list[dict[str, float]] = page.evaluate(
        "() => [...document.querySelectorAll('.mm-panel .u-over, .mm-plot-tools button:not(.mm-strong)')]"
        ".map(e => e.getBoundingClientRect()).map(({x, y, width, height}) => ({x, y, width, height}))"
    )
    return boxes


def test_drag_moves_all_plots_and_nothing_else(page: Page, dashboard: Served) -> None:
    open_page(page, dashboard.url, symbol="AAPL")
    wait_until(lambda: len(plot_data(page)["predictions"][0]) > 100, "the plot")
    before = places(page)
    box = page.locator(".mm-panel .u-over").first.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -300)
    low, high = page.evaluate("() => mm.plots.range()")
    page.mouse.down()
    page.mouse.move(x + 80, y, steps=4)
    page.mouse.up()
    moved_low, moved_high = page.evaluate("() => mm.plots.range()")
    assert moved_low < low and moved_high - moved_low == pytest.approx(high - low)
    scales = page.evaluate("() => mm.plots.charts.map(chart => [chart.scales.x.min, chart.scales.x.max])")
    assert scales == [pytest.approx([moved_low, moved_high])] * 3
    assert not any(select.is_visible() for select in page.locator(".mm-panel .u-select").all())
    assert places(page) == before
    page.get_by_role("button", name="Latest").click()
    assert page.evaluate("() => mm.plots.view") is None


def test_new_values_move_nothing(page: Page, dashboard: Served) -> None:
    open_page(page, dashboard.url, symbol="AAPL")
    wait_until(lambda: len(plot_data(page)["predictions"][0]) > 100, "the plot")
    before, rows = places(page), len(plot_data(page)["predictions"][0])
    for more in (3, 6, 9):
        wait_until(lambda more=more: len(plot_data(page)["predictions"][0]) >= rows + more, "new values")
        assert places(page) == before
