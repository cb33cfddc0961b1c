"""The page's own elements: each is a small script under ``web/`` that takes its data from the channel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nicegui.element import Element
from nicegui.elements import aggrid as _aggrid  # noqa: F401  registers the grid's module for our table

from agents.dashboard.tables import Layout

WEB = Path(__file__).parent / "web"


class Status(Element, component="web/mm_status.js", esm={"mm": "web"}):
    """Connection, event time, next decision, lag."""


class Banners(Element, component="web/mm_banners.js"):
    """What a person should know first."""


class MoneyStrip(Element, component="web/mm_money.js"):
    """Totals, equity, drawdown."""


class Plots(Element, component="web/mm_plots.js"):
    """The two plots of a symbol."""

    def __init__(self, symbol: str) -> None:
        super().__init__()
        self._props["symbol"] = symbol

    def show(self, symbol: str) -> None:
        """Show another symbol."""
        self._props["symbol"] = symbol


class MachineCards(Element, component="web/mm_machine.js"):
    """State of each agent."""


class LiveTable(Element, component="web/mm_table.js"):
    """One table. Emits `symbol` when one is chosen, `edit` and `selection` when `editable` names columns."""

    def __init__(
        self,
        layout: Layout,
        *,
        editable: Sequence[str] = (),
        choices: dict[str, list[str]] | None = None,
        empty: str = "no rows yet",
    ) -> None:
        super().__init__()
        props: dict[str, Any] = {
            "name": layout.name,
            "columns": [[column.name, column.kind] for column in layout.columns],
            "log": layout.log,
            "editable": list(editable),
            "choices": choices or {},
            "empty": empty,
        }
        self._props.update(props)
        self.props(f'data-table="{layout.name}"')
