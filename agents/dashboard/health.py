"""Asking agents' health pages how they are."""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import socket
import time
from typing import Any
from urllib.parse import urlsplit

from agents.dashboard.machine import Health
from agents.dashboard.watching import watching

_SECONDS = 1.5
"""For both pages of an agent together, from the connection to the last byte; the look-up of a name comes on top."""
_MOST_BYTES = 1 << 20
_FIGURES = {
    "mm_lag_records": "lag",
    "mm_decision_age_seconds": "decision_age",
    "mm_partitions": "partitions",
    "mm_last_commit_timestamp_seconds": "last_commit",
    "mm_restore_seconds": "restore_seconds",
}


def ask(url: str, name: str | None = None) -> Health:
    """How the agent at a base address is, by its name there or this one.

    One that does not answer in time is not ready, and neither is one whose answer cannot be read, whatever is at the
    address.
    """
    base, deadline = url.rstrip("/"), time.monotonic() + _SECONDS
    try:
        ready, text = _get(f"{base}/ready", deadline)
        _, metrics = _get(f"{base}/metrics", deadline)
        figures, agent = parse(metrics)
        seen = watching(metrics)
    except OSError as error:
        return Health(url, False, f"does not answer ({error})", agent=name)
    except (http.client.HTTPException, LookupError, ValueError) as error:
        return Health(url, False, f"its answer cannot be read ({type(error).__name__}: {error})", agent=name)
    if seen is not None:
        figures, agent = {"lag": seen["lag"]}, name or "surveillance"
    return Health(url, ready, text.strip(), figures, agent or name, seen)


def parse(metrics: str) -> tuple[dict[str, float], str | None]:
    """Figures by short name, and the agent's name, from Prometheus' text format."""
    figures: dict[str, float] = {}
    agent = None
    for line in metrics.splitlines():
        name, _, rest = line.partition("{")
        if name in _FIGURES:
            labels, _, value = rest.rpartition("} ")
            figures[_FIGURES[name]] = float(value)
            named = dict(part.split("=", 1) for part in labels.split(",") if "=" in part)
            agent = "-".join(named[key].strip('"') for key in ("role", "instance_name") if key in named)
    return figures, agent


def _get(address: str, deadline: float) -> tuple[bool, str]:
    """Whether the status is a good one, and the text. Raises TimeoutError at the deadline, a time.monotonic()."""
    where = urlsplit(address)
    kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
    with contextlib.closing(kind(where.netloc, timeout=_left(deadline))) as connection:
        connection.response_class = functools.partial(_Answer, deadline=deadline)  # type: ignore[assignment]
        connection.request("GET", where.path)
        answer = connection.getresponse()
        body = answer.read(_MOST_BYTES)
        if len(body) == _MOST_BYTES:
            raise ValueError(f"it has {_MOST_BYTES} bytes or more")
        if answer.length:
            raise http.client.IncompleteRead(body, answer.length)
        return answer.status == http.client.OK, body.decode(errors="replace")


def _left(deadline: float) -> float:
    """Seconds. Raises TimeoutError when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


class _Answer(http.client.HTTPResponse):
    """An answer that comes by a deadline as a whole: a socket's own timeout is for each piece of it anew."""

    def __init__(self, connected: socket.socket, *arguments: Any, deadline: float, **named: Any) -> None:
        super().__init__(connected, *arguments, **named)
        self.fp = io.BufferedReader(_InTime(connected, self.fp.detach(), deadline))


class _InTime(io.RawIOBase):
    """What comes from a socket by a deadline."""

    def __init__(self, connected: socket.socket, plain: io.RawIOBase, deadline: float) -> None:
        self._connected = connected
        self._plain = plain
        self._deadline = deadline

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """The next bytes; 0 at the end."""
        self._connected.settimeout(_left(self._deadline))
        return self._plain.readinto(buffer)

    def close(self) -> None:
        """Let the socket go."""
        self._plain.close()
        super().close()
