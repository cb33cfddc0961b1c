"""mm surveillance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agents import configuration as config_module
from agents.commands.agents import HealthHost, HealthPort, Instance, Wait
from agents.commands.options import with_settings
from agents.configuration import Configuration


@with_settings
def surveillance(
    configuration: Configuration,
    rules: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Rules and thresholds (TOML); else the defaults.")
    ] = None,
    instance: Instance = None,
    health_port: HealthPort = 0,
    health_host: HealthHost = "127.0.0.1",
    wait: Wait = 0,
) -> None:
    """Watch the desk: trades, executions, pnl, signals, orders, dead-letters -> alerts; windows as pages."""
    from agents.processes import lifeline

    lifeline.watch()
    config = configuration.kafka()

    from agents.stream.waiting import wait_for_topics
    from agents.surveillance.process import Place, run_surveillance
    from agents.surveillance.settings import load

    settings = load(rules, configuration.settings().decision_seconds)
    if wait:
        wait_for_topics(config, wait)
    place = Place(config_module.home() / "run", instance, health_host, health_port)
    run_surveillance(config, settings, place)
