"""The demo's figures on a terminal, or as plain lines where there is none."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from agents.demo.figures import Figures

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.table import Table

_LINE_SECONDS = 5.0


class View(Protocol):
    """Shows figures while the demo runs."""

    def show(self, figures: Figures, note: str) -> None:
        """Show them; note: one line on what the demo does."""
        ...


@contextlib.contextmanager
def view() -> Iterator[View]:
    """The view that fits where stdout goes."""
    if not sys.stdout.isatty():
        yield _Lines()
        return
    from rich.live import Live

    with Live(refresh_per_second=4, transient=True) as live:
        yield _Tables(live)


def summary(figures: Figures) -> str:
    """The whole run in a few lines."""
    symbols = sorted(figures.pnl)
    width = max((len(symbol) for symbol in symbols), default=0)
    lines = [
        f"{figures.quotes:,} quotes, {figures.decisions:,} decisions, {figures.trades:,} trades, "
        f"{figures.live_trades:,} of them after the pre-roll",
        *(_pnl_line(figures, symbol, width) for symbol in symbols),
        f"net {figures.net:,.2f}",
    ]
    return "\n".join(lines)


def _pnl_line(figures: Figures, symbol: str, width: int) -> str:
    pnl, position = figures.pnl[symbol], figures.positions.get(symbol)
    trades = position.trades if position is not None else 0
    return (
        f"  {symbol:<{width}}  {pnl.net:>10,.2f}  (realised {pnl.realised:,.2f}, unrealised {pnl.unrealised:,.2f}, "
        f"fees {pnl.fees:,.2f}; {trades} trades, {pnl.shares:g} shares)"
    )


class _Lines:
    def __init__(self) -> None:
        self._next = 0.0

    def show(self, figures: Figures, note: str) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _LINE_SECONDS
        print(
            f"{note}: {figures.quotes:,} quotes, {figures.decisions:,} decisions, {figures.trades:,} trades, "
            f"net {figures.net:,.2f}",
            flush=True,
        )


class _Tables:
    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, figures: Figures, note: str) -> None:
        self._live.update(_page(figures, note))


def _page(figures: Figures, note: str) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    head = (
        f"{figures.quotes:,} quotes ({figures.quotes_per_second:,.0f}/s)   {figures.decisions:,} decisions   "
        f"{figures.trades:,} trades ({figures.live_trades:,} live)   net {figures.net:,.2f}"
    )
    return Group(Text(head, style="bold"), _positions(figures), _trades(figures), Text(f"{note}   Ctrl-C ends"))


def _positions(figures: Figures) -> Table:
    from rich.table import Table

    table = Table(title="positions and profit and loss", title_justify="left")
    for column in ("symbol", "shares", "cost", "mark", "realised", "unrealised", "net", "trades"):
        table.add_column(column, justify="left" if column == "symbol" else "right")
    for symbol, pnl in sorted(figures.pnl.items()):
        position = figures.positions.get(symbol)
        table.add_row(
            symbol,
            f"{pnl.shares:g}",
            *(f"{x:,.2f}" for x in (pnl.average_cost, pnl.mark, pnl.realised, pnl.unrealised, pnl.net)),
            str(position.trades) if position is not None else "0",
        )
    return table


def _trades(figures: Figures) -> Table:
    from rich.table import Table

    table = Table(title="latest trades", title_justify="left")
    for column in ("time", "symbol", "side", "shares", "price", "position"):
        table.add_column(column, justify="left" if column in ("time", "symbol", "side") else "right")
    for trade in reversed(figures.latest):
        side = f"[{'green' if trade.side == 'BUY' else 'red'}]{trade.side}[/]"
        table.add_row(
            trade.time[11:19],
            trade.symbol,
            side,
            f"{trade.shares:g}",
            f"{trade.price:,.2f}",
            f"{trade.position_after:g}",
        )
    return table
