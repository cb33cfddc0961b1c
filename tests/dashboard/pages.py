"""What tests do on the page and read from it."""

import json
import re
from typing import Any

from playwright.sync_api import Page, WebSocket, expect


def open_page(page: Page, url: str, **query: str) -> None:
    """Open the page and wait until it is connected, whatever it then tells of the feed."""
    page.goto(f"{url}/?{'&'.join(f'{name}={value}' for name, value in query.items())}")
    expect(page.locator("#status")).to_have_attribute("data-state", re.compile("live|warn|bad"), timeout=30_000)


def open_tab(page: Page, name: str) -> None:
    """Show one table."""
    page.get_by_role("tab", name=name, exact=True).click()
    expect(page.locator(f"[data-table='{name}'] .ag-root")).to_be_visible()


def cell(page: Page, table: str, row: str, column: str) -> Any:
    """One cell of a table that is shown."""
    title = page.locator(".ag-header-cell-text", has_text=re.compile(f"^{re.escape(column)}$"))
    header = page.locator(f"[data-table='{table}'] .ag-header-cell", has=title)
    col_id = header.get_attribute("col-id")
    return page.locator(f"[data-table='{table}'] .ag-row[row-id='{row}'] .ag-cell[col-id='{col_id}']")


def edit(page: Page, row: str, column: str, value: str) -> None:
    """Type a value into a cell of controls."""
    target = cell(page, "controls", row, column)
    target.dblclick()
    field = target.locator("input")
    field.fill(value)
    field.press("Enter")


def plot_data(page: Page) -> dict[str, Any]:
    """The columns of the plots as the page holds them, read at one moment."""
    data: dict[str, Any] = page.evaluate(
        "() => ({predictions: mm.plots.predictions.columns, drawn: mm.plots.charts[0].data.map(c => Array.from(c)),"
        " executions: mm.plots.executions.columns, position: mm.plots.charts[2].data.map(c => Array.from(c))})"
    )
    return data


def listen(page: Page, channel: str) -> list[Any]:
    """What the page gets on one channel from now on; it fills while playwright is at work."""
    got: list[Any] = []

    def receive(frame: str | bytes) -> None:
        message = json.loads(frame)
        if channel in message:
            got.append(message[channel])

    def opened(socket: WebSocket) -> None:
        if socket.url.endswith("/live"):
            socket.on("framereceived", receive)

    page.on("websocket", opened)
    return got
