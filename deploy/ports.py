"""Ports of the loopback; imports nothing of the embedded broker, which an image leaves out."""

import contextlib
import secrets
import socket

HOST = "127.0.0.1"
_PORTS = range(20_000, 32_000)  # below those that Linux and macOS give to connections


def free_port() -> int:
    """A TCP port of the loopback that was free a moment ago, and that the system gives nobody who just wants one.

    A broker that is down for a while then finds its port free when it comes back.
    """
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
