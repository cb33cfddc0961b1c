"""mm dashboard."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from agents.commands.options import with_settings
from agents.configuration import Configuration
from agents.processes import fleet, lifeline


@with_settings
def dashboard(
    configuration: Configuration,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Any other than 127.0.0.1 needs MM_DASHBOARD_PASSWORD.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8080,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse every change of controls.")] = False,
    health: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Health pages of an agent, may be repeated; else those that mm run notes."),
    ] = None,
) -> None:
    """Serve the page: prices, positions and profit as they come, and the controls in place."""
    from agents.dashboard import DashboardSettings, password_from, run

    lifeline.watch()
    settings = DashboardSettings(
        host=host,
        port=port,
        password=password_from(os.environ),
        read_only=read_only,
        health=tuple(health or ()),
        found_health=lambda: {member.health: member.name for member in fleet.noted(configuration.prefix)},
        decision_seconds=configuration.settings().decision_seconds,
    )
    run(configuration.kafka(), settings)
