"""mm doctor."""

from __future__ import annotations

import typer

from agents.commands.options import with_settings
from agents.configuration import Configuration


@with_settings
def doctor(configuration: Configuration) -> None:
    """Tell what is missing on this machine or broker, and the one line that mends it."""
    from agents.doctor import examine

    broken = False
    for finding in examine(configuration):
        typer.echo(finding.line)
        broken |= finding.remedy is not None
    if broken:
        raise typer.Exit(1)
