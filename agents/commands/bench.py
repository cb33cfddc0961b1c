"""mm bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench(
    quotes: Annotated[
        int, typer.Option(min=10_000, help="JSON quotes in the input; frames hold four times as many.")
    ] = (5_000_000),
    repeats: Annotated[int, typer.Option(min=1, max=20, help="Runs of each contestant, in turn.")] = 3,
    latency_seconds: Annotated[float, typer.Option(min=0, help="Length of a latency run; 0: none.")] = 40.0,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Every single run as JSON.")] = None,
) -> None:
    """Measure the signals agent beside bare consumption of the same quotes, on a broker of its own."""
    from benchmarks.run import as_json, run

    rows = run(quotes, repeats, latency_seconds, typer.echo)
    if json is not None:
        json.write_bytes(as_json(rows))
