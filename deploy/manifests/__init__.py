"""Kubernetes manifests, made from the topics and a table of roles: `python -m deploy.manifests` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from deploy.manifests import kafka, roles, scaling, surroundings

FOLDER = Path(__file__).parents[1] / "kubernetes"
_HEAD = "# Written by: python -m deploy.manifests\n"


class _Plain(yaml.SafeDumper):
    """Writes a value that occurs twice twice, instead of naming it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def documents() -> Mapping[str, list[dict[str, Any]]]:
    """Every file's documents, by the file's name."""
    files = {
        "kafka.yaml": kafka.cluster(),
        "topics.yaml": kafka.topics(),
        "users.yaml": kafka.users(),
        "agents.yaml": roles.agents(),
        "feed.yaml": roles.feed(),
        "dashboard.yaml": roles.dashboard(),
        "disruption.yaml": surroundings.disruption_budgets(),
        "network.yaml": surroundings.network_policies(),
        "monitoring.yaml": [*surroundings.monitors(), *surroundings.alerts()],
        "scaling.yaml": scaling.scaled_objects(),
    }
    return {**files, "kustomization.yaml": [surroundings.kustomization(list(files))]}


def render(items: list[dict[str, Any]]) -> str:
    """The text of one file."""
    return _HEAD + yaml.dump_all(items, Dumper=_Plain, sort_keys=False, width=120)


def write(folder: Path = FOLDER) -> list[Path]:
    """Write all files; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, items in documents().items():
        path = folder / name
        path.write_text(render(items))
        written.append(path)
    return written
