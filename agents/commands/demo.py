"""mm demo."""

from __future__ import annotations

from typing import Annotated

import typer

from agents.commands.options import with_settings_alone
from agents.configuration import Configuration


@with_settings_alone
def demo(
    configuration: Configuration,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="End by itself; else at Ctrl-C.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave data and logs behind, and say where.")] = False,
) -> None:
    """Show it all: a broker of its own, the agents, a synthetic market; nothing of it stays."""
    from agents.demo.run import DemoSettings, run

    run(DemoSettings(seconds=seconds, keep=keep, settings=configuration.settings()))
