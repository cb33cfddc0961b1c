"""The report in a real browser: what it shows, on wide and narrow screens, in light and dark."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from agents.backtest.charts import Chosen
from agents.backtest.collect import Outputs
from agents.backtest.controls import same_for_all
from agents.backtest.options import swept_settings
from agents.backtest.report import Sweep, write_report
from agents.backtest.running import run
from agents.backtest.variant import Options
from agents.strategy.settings import Settings
from schemas.records import Control
from tests.backtest import market
from tests.backtest.helpers import collect, plan_of, write_quotes

SWEEP = Sweep({"tau_seconds": [30.0, 60.0], "band_sd": [0.5, 1.0, 1.5]})


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a sweep of six settings over two dates, with one chart that was asked for."""
    folder = tmp_path_factory.mktemp("report")
    write_quotes(folder / "data", market.quotes())
    controls = same_for_all(market.SYMBOLS, Control(max_position_dollars=8_000))
    plan = plan_of(folder / "data", folder / "work", controls, *swept_settings(Settings(session="XNYS"), SWEEP))
    run(plan, 1)
    chart = [Chosen.parse("AAA@2013-11-29")]
    write_report(folder / "report.html", plan, SWEEP, collect(plan, Outputs()), chart)
    return folder / "report.html"


def shown_data(report: Path) -> dict[str, Any]:
    found = re.search(r'type="application/json">(.*?)</script>', report.read_text(), re.S)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def opened(page: Page, report: Path) -> Page:
    """The page, which asks for nothing but itself."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    expect(page.locator("#figures .tile")).to_have_count(10)
    assert asked == [report.as_uri()]
    return page


def test_a_report_shows_every_part(page: Page, report: Path) -> None:
    opened(page, report)
    data = shown_data(report)
    best = max(data["results"], key=lambda result: result["totals"]["net_change"])
    figures = page.locator("#figures")
    expect(figures).to_contain_text(f"{best['totals']['trades']:,.0f}")
    expect(figures).to_contain_text("needs 20 days, there are 2")
    for part in ("equity", "drawdown", "chart-0", "position-0"):
        expect(page.locator(f"#{part} canvas")).to_be_visible()
    expect(page.locator("#dates rect")).to_have_count(2)
    expect(page.locator("#markouts circle")).to_have_count(3)
    expect(page.locator("#symbols tbody tr")).to_have_count(3)
    expect(page.get_by_role("heading", name="AAA on 2013-11-29")).to_be_visible()
    expect(page.locator("#conditions")).to_contain_text("XNYS")


def dollars(value: float) -> str:
    """As the page writes amounts below ten million."""
    return f"{'−' if value < 0 else ''}${abs(value):,.{2 if abs(value) < 1_000 else 0}f}"


def test_every_figure_is_that_of_the_best_setting(page: Page, report: Path) -> None:
    opened(page, report)
    best = max((result["totals"] for result in shown_data(report)["results"]), key=lambda one: one["net_change"])
    for name, texts in {
        "Net": [dollars(best["net_change"]), f"fees {dollars(best['fees_change'])}"],
        "Net per turnover": [
            f"{best['net_bps_of_turnover']:.3f} bp".replace("-", "−"),
            f"of {dollars(best['turnover'])}",
        ],
        "Sharpe, daily × √252": ["needs 20 days, there are 2"],
        "Largest fall": [dollars(best["max_drawdown"])],
        "Hit rate": [f"{best['hit_rate']:.1%}".replace("%", " %"), f"of {best['closing_trades']:,.0f} that closed"],
        "Verdicts filled": [
            f"{best['filled_share']:.1%}".replace("%", " %"),
            f"{best['clipped']:,.0f} clipped, {best['refused']:,.0f} refused",
        ],
        "Time in market": [f"{best['time_in_market']:.1%}".replace("%", " %")],
        "Mean exposure": [dollars(best["mean_exposure"]), f"largest of a symbol {dollars(best['max_exposure'])}"],
    }.items():
        tile = page.locator("#figures .tile").filter(has=page.get_by_text(name, exact=True))
        for text in texts:
            expect(tile).to_contain_text(text)


def test_a_cell_of_the_heat_map_shows_its_setting_everywhere(page: Page, report: Path) -> None:
    opened(page, report)
    data = shown_data(report)
    cells = page.locator("#heat .cell")
    expect(cells).to_have_count(6)
    for number in (0, 5):
        cells.nth(number).click()
        totals = data["results"][number]["totals"]
        tile = page.locator("#figures .tile").filter(has_text="buys")
        expect(tile).to_contain_text(f"{totals['buys']:,.0f} buys, {totals['sells']:,.0f} sells")
        expect(page.locator("#setting")).to_have_value(str(number))
        expect(page.locator("#settings-table tr.chosen")).to_have_count(1)
        trades = data["charts"][0]["counts"][number]
        expect(page.locator("#charts .legend").first).to_contain_text(f"{trades:,} trades")
    page.locator("#metric").select_option("turnover")
    expect(cells.first).not_to_contain_text("−")


def test_a_table_is_sorted_by_a_click_on_its_head(page: Page, report: Path) -> None:
    opened(page, report)
    page.locator("#symbols th", has_text="Trades").click()
    counts = page.locator("#symbols tbody tr td:nth-child(6)").all_inner_texts()
    assert len(counts) == 3
    assert counts == sorted(counts, key=lambda text: -int(text.replace(",", "")))


def test_heads_cells_and_settings_are_reached_and_used_by_keys(page: Page, report: Path) -> None:
    opened(page, report)
    head = page.locator("#symbols thead button", has_text="Trades")
    head.focus()
    for direction, sign in (("descending", -1), ("ascending", 1)):
        page.keyboard.press("Enter")
        counts = page.locator("#symbols tbody tr td:nth-child(6)").all_inner_texts()
        assert counts == sorted(counts, key=lambda text: sign * int(text.replace(",", "")))
        expect(page.locator("#symbols th[aria-sort]")).to_have_attribute("aria-sort", direction)
        expect(head).to_be_focused()
    for part, number in (("#cell-5", "5"), ("#pick-2", "2")):
        page.locator(part).focus()
        page.keyboard.press("Space")
        expect(page.locator("#setting")).to_have_value(number)
        expect(page.locator(part)).to_be_focused()
        expect(page.locator(f"#cell-{number}")).to_have_attribute("aria-pressed", "true")


def test_orders_that_latency_cancels_are_counted_on_the_page(page: Page, tmp_path: Path) -> None:
    write_quotes(tmp_path / "data", market.quotes())
    controls = same_for_all(market.SYMBOLS, Control(max_position_dollars=8_000))
    options = Options(latency_ns=3_000_000_000)
    plan = plan_of(tmp_path / "data", tmp_path / "work", controls, Settings(band_sd=0.5), options=options)
    run(plan, 1)
    (summary,) = summaries = collect(plan, Outputs())
    write_report(tmp_path / "report.html", plan, Sweep(), summaries, [])
    opened(page, tmp_path / "report.html")
    cancelled = summary.totals()["cancelled"]
    assert cancelled > 20
    expect(page.locator("#figures")).to_contain_text(f"refused, {cancelled:,.0f} cancelled")


def test_a_symbol_that_looks_like_a_script_is_only_shown(page: Page, tmp_path: Path) -> None:
    symbol = "<!--<script>"
    rows = [row | {"symbol": symbol} for row in market.quotes() if row["symbol"] == "AAA"]
    write_quotes(tmp_path / "data", rows)
    plan = plan_of(tmp_path / "data", tmp_path / "work", same_for_all([symbol], Control(max_position_dollars=8_000)))
    run(plan, 1)
    write_report(tmp_path / "report.html", plan, Sweep(), collect(plan, Outputs()), [])
    opened(page, tmp_path / "report.html")
    expect(page.locator("#symbols tbody tr")).to_contain_text(symbol)


@pytest.mark.parametrize("width", [360, 800, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_and_text_can_be_read(browser: Browser, report: Path, width: int, scheme: Any) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = opened(context.new_page(), report)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    contrasts = page.evaluate(
        """() => {
            const light = (text) => {
                const parts = text.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
                    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
            };
            const card = light(getComputedStyle(document.querySelector(".card")).backgroundColor);
            return [...document.querySelectorAll("h1, h2, .note, .tile b, .tile small, td, th")].map((node) => {
                const ink = light(getComputedStyle(node).color);
                return (Math.max(ink, card) + 0.05) / (Math.min(ink, card) + 0.05);
            });
        }"""
    )
    # The least that WCAG 2 asks for normal text.
    assert len(contrasts) > 50 and min(contrasts) >= 4.5
    context.close()
