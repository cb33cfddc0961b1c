"""mm schemas."""

from __future__ import annotations

from typing import Annotated

import typer

from agents.stream.errors import StreamError


class Stale(StreamError):
    """Generated files differ from what the records say."""

    exit_status = 1


def schemas(check: Annotated[bool, typer.Option("--check", help="Only tell whether they are stale.")] = False) -> None:
    """Write the JSON Schema of every record, and the AsyncAPI document."""
    from schemas import generate

    stale = generate.stale() if check else generate.write()
    if check and stale:
        raise Stale(f"stale: {', '.join(stale)}; write them anew with: mm schemas")
    typer.echo("up to date" if not stale else f"written: {', '.join(stale)}")
