"""Asking agents' health pages how they are."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request

from agents.dashboard.machine import Health
from agents.dashboard.watching import watching

_SECONDS = 1.5
_FIGURES = {
    "mm_lag_records": "lag",
    "mm_decision_age_seconds": "decision_age",
    "mm_partitions": "partitions",
    "mm_last_commit_timestamp_seconds": "last_commit",
    "mm_restore_seconds": "restore_seconds",
}


def ask(url: str, name: str | None = None) -> Health:
    """How the agent at a base address is, by its name there or this one.

    One that does not answer is not ready, and neither is one whose answer cannot be read, whatever is at the address.
    """
    base = url.rstrip("/")
    try:
        ready, text = _get(f"{base}/ready")
        _, metrics = _get(f"{base}/metrics")
        figures, agent = parse(metrics)
        seen = watching(metrics)
    except OSError as error:
        return Health(url, False, f"does not answer ({getattr(error, 'reason', error)})", agent=name)
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


def _get(address: str) -> tuple[bool, str]:
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS) as answer:
            return True, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return False, error.read().decode(errors="replace")
