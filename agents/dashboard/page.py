"""The page's layout and what its buttons do."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable
from importlib.resources import files
from typing import Any

from nicegui import app, events, ui

from agents.controls.operator import Written
from agents.dashboard import steering as steer
from agents.dashboard.board import Board
from agents.dashboard.elements import WEB, Banners, LiveTable, MachineCards, MoneyStrip, Plots, Status
from agents.dashboard.settings import DashboardSettings
from agents.dashboard.steering import Refused, Steering
from agents.dashboard.tables import CONTROLS, DEAD_LETTERS, LAYOUTS, Layout

_SYMBOLS_SECONDS = 3.0
_DEFAULT_MAX_POSITION, _DEFAULT_LOT = 10_000, 100
_MACHINE = "machine"
_ZONES = {"UTC": "UTC", "exchange": "New York"}
_SYMBOL = re.compile(r"[!-~]{1,32}")
_EMPTY = {
    "alerts": "no alerts",
    "dead-letters": "no dead letters",
    "trades": "no trades yet",
    "controls": "no symbols yet: add one",
}
_HEAD = """
<script src="/assets/uplot/uPlot.iife.js"></script>
<link rel="stylesheet" href="/assets/uplot/uPlot.min.css">
<link rel="stylesheet" href="/assets/web/style.css">
<meta name="description" content="Market maker: live prices, positions and controls">
"""
_LOAD_PREFS = "import('mm/prefs.js').then(p => p.applyTheme(p.get('theme')))"


def build(board: Board, steering: Steering, settings: DashboardSettings) -> None:
    """Define the page on NiceGUI's app."""
    app.add_static_files("/assets/uplot", str(files("uplot") / "static"))
    app.add_static_files("/assets/web", WEB, max_cache_age=0)

    @ui.page("/")
    def page(symbol: str = "", tab: str = CONTROLS.name, tz: str = "UTC") -> None:
        ui.add_head_html(_HEAD)
        _Page(board, steering, settings).build(symbol, tab, tz)
        ui.run_javascript(_LOAD_PREFS)


class _Page:
    """One open page."""

    def __init__(self, board: Board, steering: Steering, settings: DashboardSettings) -> None:
        self._board = board
        self._steering = steering
        self._settings = settings

    def build(self, symbol: str, tab: str, tz: str) -> None:
        symbols = self._symbols()
        chosen = symbol if _SYMBOL.fullmatch(symbol) else next(iter(symbols), "")
        if chosen and chosen not in symbols:
            # Named by the address before a record of it was read.
            symbols = sorted([*symbols, chosen])
        with ui.element("header").classes("mm-header"):
            self._header(chosen, symbols, tz)
        with ui.element("main").classes("mm-main"):
            Banners()
            MoneyStrip()
            self._plots = Plots(chosen)
            self._tabs(tab)
        ui.timer(_SYMBOLS_SECONDS, self._refresh_symbols)

    # -- header ---------------------------------------------------------------------------------------------------

    def _header(self, chosen: str, symbols: list[str], tz: str) -> None:
        with ui.element("h1").classes("mm-brand"):
            ui.html('<img src="/assets/web/icon.svg" alt="" width="24" height="24">market maker', sanitize=False)
        self._pick = (
            ui.select(symbols, value=chosen or None, label="Symbol", with_input=True, on_change=self._symbol_chosen)
            .props("dense outlined options-dense hide-bottom-space")
            .classes("mm-pick")
        )
        Status()
        ui.element("span").classes("mm-gap")
        if self._settings.read_only:
            ui.label("read-only").classes("mm-chip mm-tone-calm")
        else:
            self._halting()
        zone = ui.select(_ZONES, value=tz if tz in _ZONES else "UTC", label="Times in")
        zone.props("dense outlined options-dense hide-bottom-space").classes("mm-zone")
        zone.on_value_change(lambda e: _remember("tz", e.value))
        ui.button(icon="contrast").props('flat round dense aria-label="Dark or light"').on(
            "click", js_handler="() => import('mm/prefs.js').then(p => p.toggleTheme())"
        )
        if self._settings.password:
            with ui.element("form").props('method="post" action="/logout"'):
                ui.button(icon="logout").props('flat round dense type="submit" aria-label="Log out"')

    def _halting(self) -> None:
        with ui.dialog() as dialog, ui.card().classes("mm-dialog"):
            ui.label("Halt every symbol?").classes("mm-dialog-title")
            ui.label(
                "From the next decision time nothing is bought or sold, whatever a symbol's own control says. "
                "Positions stay as they are. It lasts until you resume."
            )
            with ui.row().classes("mm-dialog-buttons"):
                ui.button("Cancel", on_click=dialog.close).props("flat no-caps")
                ui.button("Halt all", on_click=lambda: dialog.submit(True)).props("color=negative no-caps unelevated")

        async def halt() -> None:
            if await dialog:
                await self._tell(self._steering.halt_all())

        async def resume() -> None:
            await self._tell(self._steering.resume_all())

        ui.button("Halt all", on_click=halt, icon="front_hand").props(
            "no-caps unelevated color=negative dense"
        ).classes("mm-halt")
        ui.button("Resume all", on_click=resume).props("no-caps outline dense").classes("mm-resume")

    # -- symbols --------------------------------------------------------------------------------------------------

    def _symbols(self) -> list[str]:
        with self._board.lock:
            controlled = [key for key, _ in self._board.tables[CONTROLS.name].items() if key != "*"]
            return sorted({*controlled, *self._board.histories})

    def _refresh_symbols(self) -> None:
        symbols = self._symbols()
        if self._pick.value and self._pick.value not in symbols:
            symbols = sorted([*symbols, self._pick.value])
        if symbols != self._pick.options:
            self._pick.set_options(symbols)
        if not self._pick.value and symbols:
            self._pick.set_value(symbols[0])

    def _symbol_chosen(self, event: events.ValueChangeEventArguments[Any]) -> None:
        if event.value:
            self._plots.show(event.value)
            _remember("symbol", event.value)

    def _choose(self, symbol: str) -> None:
        if symbol in self._pick.options:
            self._pick.set_value(symbol)

    # -- tables ---------------------------------------------------------------------------------------------------

    def _tabs(self, chosen: str) -> None:
        names = [layout.name for layout in LAYOUTS if layout is not DEAD_LETTERS] + [_MACHINE]
        chosen = chosen if chosen in names else names[0]
        with ui.tabs() as tabs:
            for name in names:
                ui.tab(name)
        tabs.set_value(chosen)
        tabs.props("dense align=left no-caps outside-arrows mobile-arrows").classes("mm-tabs")
        tabs.on_value_change(lambda e: _remember("tab", e.value))
        layouts = {layout.name: layout for layout in LAYOUTS}
        with ui.tab_panels(tabs, value=chosen, animated=False, keep_alive=False).classes("mm-panels"):
            for name in names:
                with ui.tab_panel(name):
                    if name == CONTROLS.name:
                        self._controls()
                    elif name == _MACHINE:
                        MachineCards()
                        ui.html("Dead letters", sanitize=False, tag="h2").classes("mm-heading")
                        self._table(DEAD_LETTERS)
                    else:
                        self._table(layouts[name])

    def _table(self, layout: Layout, **more: Any) -> LiveTable:
        with ui.element("div").classes("mm-table-tools"):
            tools = ui.element("span").classes("mm-gap")
            search = ui.input("Filter").props("dense outlined clearable debounce=150").classes("mm-filter")
        table = LiveTable(layout, empty=_EMPTY.get(layout.name, "no rows yet"), **more)
        table.on("symbol", lambda event: self._choose(event.args))
        search.on_value_change(lambda event: table.run_method("filter", event.value or ""))
        tools.move(target_index=0)
        return table

    def _controls(self) -> None:
        if self._settings.read_only:
            self._table(CONTROLS)
            return
        with ui.element("div").classes("mm-table-tools"):
            name = ui.input("Symbol to add").props("dense outlined maxlength=32").classes("mm-add")
            most = ui.number("Max position $", value=_DEFAULT_MAX_POSITION, min=0).props("dense outlined")
            lot = ui.number("Lot, shares", value=_DEFAULT_LOT, min=0).props("dense outlined")
            add = ui.button("Add symbol", icon="add").props("no-caps unelevated dense color=primary")
            remove = ui.button("Remove selected", icon="delete_outline").props("no-caps flat dense")
            ui.label("Double-click or Enter edits a cell").classes("mm-note")
        remove.disable()
        table = LiveTable(CONTROLS, editable=steer.EDITABLE, choices=steer.CHOICES, empty=_EMPTY["controls"])

        async def add_symbol() -> None:
            key = (name.value or "").strip()
            if await self._tell(self._steering.add(key, most.value, lot.value)):
                name.set_value("")

        async def remove_selected() -> None:
            for key in await table.run_method("selected"):
                await self._tell(self._steering.remove(key))

        async def edit(event: events.GenericEventArguments) -> None:
            key, column, value = (event.args[part] for part in ("key", "column", "value"))
            if not await self._tell(self._steering.edit(key, column, value)):
                table.run_method("undo", key, column, value, event.args["old"])

        add.on_click(add_symbol)
        name.on("keydown.enter", add_symbol)
        remove.on_click(remove_selected)
        table.on("edit", edit)
        table.on("symbol", lambda event: self._choose(event.args))
        table.on("selection", lambda event: remove.set_enabled(event.args > 0))

    async def _tell(self, change: Awaitable[Written]) -> bool:
        """Make a change and say what came of it; whether it was made."""
        try:
            written = await change
        except Refused as refused:
            ui.notify(f"Refused: {refused}", type="negative", position="bottom-right", timeout=6000, close_button=True)
            return False
        everyone, gone = written.key == "*", written.control is None
        what = "all symbols" if everyone else written.key
        done = "sent" if not gone else "resumed" if everyone else "removed"
        ui.notify(
            f"{what}: {done} as version {written.version}; {written.holds}",
            type="positive",
            position="bottom-right",
            timeout=5000,
        )
        if written.warning:
            text = f"{written.warning}; to open with such lots, lower min_fill_shares in its row"
            ui.notify(text, type="warning", position="bottom-right", timeout=12_000, close_button=True)
        return True


def _remember(name: str, value: str) -> None:
    ui.run_javascript(f"import('mm/prefs.js').then(p => p.set({json.dumps(name)}, {json.dumps(value)}))")
