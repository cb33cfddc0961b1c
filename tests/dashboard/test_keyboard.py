"""The page without a mouse."""

from playwright.sync_api import Page, expect

from tests.dashboard.desk import Desk, control, controls
from tests.dashboard.pages import cell, open_page
from tests.dashboard.serving import Served
from tests.integration.pipeline import wait_until

MOST_STOPS = 60
FOCUS = """() => {
  const a = document.activeElement, style = getComputedStyle(a);
  const field = a.closest('.q-field'), cell = a.closest('.ag-cell');
  const ring = (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none';
  return {
    name: a.getAttribute('aria-label') || a.innerText || '',
    place: a.closest('[data-table]') ? 'table' : a.getAttribute('role') || a.tagName.toLowerCase(),
    seen: ring || !!field?.classList.contains('q-field--focused') || !!cell?.classList.contains('ag-cell-focus'),
  };
}"""


def tab_to(page: Page, name: str) -> None:
    """Press Tab until something of this name has the focus; each stop on the way must show that it has it."""
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        focus = page.evaluate(FOCUS)
        assert focus["seen"], f"the focus cannot be seen on {focus}"
        if name in focus["name"]:
            return
    raise AssertionError(f"Tab does not reach {name}")


def test_every_control_of_the_page_is_a_tab_stop_that_shows_its_focus(page: Page, dashboard: Served) -> None:
    open_page(page, dashboard.url)
    for name in ("Symbol", "Halt all", "Times in", "Dark or light", "15 min", "Session", "Zoom in", "Zoom out"):
        tab_to(page, name)
    for name in ("Pause", "Plot.", "controls", "Symbol to add", "Max position", "Lot", "Add symbol", "state"):
        tab_to(page, name)


def test_all_symbols_are_halted_and_resumed_by_keys(page: Page, desk: Desk, dashboard: Served) -> None:
    open_page(page, dashboard.url)
    tab_to(page, "Halt all")
    page.keyboard.press("Enter")
    expect(page.locator(".mm-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".mm-dialog")).to_have_count(0)
    assert "*" not in controls(desk)
    page.get_by_role("button", name="Halt all").focus()
    page.keyboard.press("Enter")
    page.locator(".mm-dialog").get_by_role("button", name="Halt all").focus()
    page.keyboard.press("Enter")
    wait_until(lambda: "*" in controls(desk), "the halt to be written")
    expect(page.get_by_role("button", name="Resume all")).to_be_visible()
    page.get_by_role("button", name="Resume all").focus()
    page.keyboard.press("Enter")
    wait_until(lambda: "*" not in controls(desk), "the halt to be lifted")


def test_cell_is_edited_by_keys(page: Page, desk: Desk, dashboard: Served) -> None:
    open_page(page, dashboard.url, tab="controls")
    expect(cell(page, "controls", "AAPL", "lot_shares")).to_have_text("50")
    cell(page, "controls", "AAPL", "max_position_dollars").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.keyboard.press("Control+a")
    page.keyboard.type("35")
    page.keyboard.press("Enter")
    wait_until(lambda: control(desk, "AAPL")["lot_shares"] == 35, "the edit to be written")
    page.keyboard.press("Enter")
    page.keyboard.type("99")
    page.keyboard.press("Escape")
    expect(cell(page, "controls", "AAPL", "lot_shares")).to_have_text("35")
    assert control(desk, "AAPL")["lot_shares"] == 35
