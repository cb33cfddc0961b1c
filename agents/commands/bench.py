"""mm bench."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

_PARTS = "json, frames, peers, symbols, scaling, latency, kernel, backtest, start, idle, restore, memory"


def bench(
    only: Annotated[
        str | None, typer.Option(metavar="PART,…", help=f"Of {_PARTS}; else all of them, which takes an hour.")
    ] = None,
    quotes: Annotated[
        int, typer.Option(min=1_000, help="Scale of the inputs: one to twelve times as many are written.")
    ] = 5_000_000,
    repeats: Annotated[int, typer.Option(min=1, max=20, help="Runs of each contestant, in turn.")] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="Length of a run of latency and idle.")] = 40.0,
    minutes: Annotated[float, typer.Option(min=0.1, help="Length of the run of memory.")] = 3.0,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Every single figure as JSON.")] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="The tables, which are shown too.")] = None,
) -> None:
    """Measure the product beside its limits and its peers, on a broker of its own."""
    from benchmarks.report import as_json
    from benchmarks.run import PARTS, run
    from benchmarks.setting import machine

    parts = list(PARTS) if only is None else only.split(",")
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise typer.BadParameter(f"no part is named {', '.join(unknown)}; there are {', '.join(PARTS)}")
    for ending in (signal.SIGTERM, signal.SIGINT):  # processes and files are cleaned up on the way out
        signal.signal(ending, signal.default_int_handler)
    where = machine()
    shown = [", ".join(f"{name} {value}" for name, value in where.items()) + "\n"]
    typer.echo(shown[0])
    tables = []
    for table in run(parts, quotes, repeats, seconds, minutes, lambda line: typer.echo(line, err=True)):
        tables.append(table)
        shown.append(table.markdown())
        typer.echo(shown[-1])
        # After each one: a long run that is ended early has told what it knows.
        if json is not None:
            json.write_bytes(as_json(where, tables))
        if markdown is not None:
            markdown.write_text("\n".join(shown))
