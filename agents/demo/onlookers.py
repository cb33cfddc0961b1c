"""What looks on in the demo: surveillance, and the page on a port that is free."""

from __future__ import annotations

import socket
import sys

from agents.configuration import Given
from agents.processes import fleet
from agents.processes.fleet import Member
from agents.processes.supervisor import Program
from deploy.ports import free_port

_USUAL_PORT = 8080


class Onlookers:
    """Two programs beside the agents, which trade whether these run or not.

    given: options as the agents get them; wait_seconds: how long surveillance waits for the topics.
    """

    def __init__(self, given: Given, wait_seconds: float) -> None:
        self._port = _USUAL_PORT if _is_free(_USUAL_PORT) else free_port()
        self.watchman = Member("surveillance", "0", free_port())
        watching = fleet.program(self.watchman, given, wait_seconds)
        command = [sys.executable, "-P", "-m", "agents.cli", "dashboard", f"--port={self._port}", *given.arguments]
        self.programs = [watching, Program("dashboard", command, {"MM_AGENT": "dashboard"})]

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{fleet.HOST}:{self._port}"

    def page_is_served(self) -> bool:
        """Whether something listens there."""
        try:
            socket.create_connection((fleet.HOST, self._port), timeout=1).close()
        except OSError:
            return False
        return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((fleet.HOST, port))
        except OSError:
            return False
    return True
