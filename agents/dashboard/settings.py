"""What the dashboard is told at its start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agents.stream.errors import BadConfiguration

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PASSWORD_VARIABLE = "MM_DASHBOARD_PASSWORD"


@dataclass(frozen=True)
class DashboardSettings:
    """How the page is served.

    host, port: where it listens (port 0: any free one); password: asked for when given, required off the loopback;
    read_only: refuse every change of controls; health: base addresses of agents' health pages;
    found_health: asked now and then for such addresses, with the agents' names, when none are given;
    decision_seconds: the agents' decision grid; window_seconds: how much of the past the plots show at first;
    session_seconds: how much of it they show on request; silent_seconds: without a quote for so long, the feed is
    called silent. Raises BadConfiguration.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    password: str | None = field(default=None, repr=False)
    read_only: bool = False
    health: tuple[str, ...] = ()
    found_health: Callable[[], Mapping[str, str]] = dict
    decision_seconds: int = 10
    window_seconds: float = 900.0
    session_seconds: float = 86_400.0
    silent_seconds: float = 10.0

    def __post_init__(self) -> None:
        if not self.password and self.host not in LOOPBACK:
            raise BadConfiguration(
                f"the dashboard can change controls, so on {self.host} it needs a password: set {PASSWORD_VARIABLE}, "
                "or leave --host at 127.0.0.1"
            )
        if not 0 <= self.port < 65536:
            raise BadConfiguration(f"port {self.port}: give one from 0 to 65535")
        for url in self.health:
            if not url.startswith(("http://", "https://")):
                raise BadConfiguration(f"--health {url}: give an address like http://127.0.0.1:9101")


def password_from(environment: Mapping[str, str]) -> str | None:
    """The password that the environment gives, None for none."""
    return environment.get(PASSWORD_VARIABLE) or None
