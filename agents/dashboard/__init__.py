"""The page: what the desk does, live, and the controls in place."""

from __future__ import annotations

from agents.dashboard.settings import DashboardSettings, password_from
from agents.stream.config import KafkaConfig

__all__ = ["DashboardSettings", "password_from", "run"]


def run(config: KafkaConfig, settings: DashboardSettings) -> None:
    """Serve the page until SIGTERM or SIGINT. Raises BadConfiguration when its port cannot be had."""
    from agents.dashboard import server  # the web framework takes a second to import

    server.serve(config, settings)
