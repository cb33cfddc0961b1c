"""Names that several manifests share."""

from __future__ import annotations

from typing import Any

IMAGE = "market-maker"
PART_OF = "market-maker"
NAMESPACE = "market-maker"
CLUSTER = "desk"
BOOTSTRAP = f"{CLUSTER}-kafka-bootstrap"
KAFKA_PORT = 9093
CA_SECRET = f"{CLUSTER}-cluster-ca-cert"
HEALTH_PORT = 8080
KEDA = "keda"
PARTITIONS = 12
"""Of every topic of the chain: also the most instances of a role that have work."""


def labels(role: str) -> dict[str, str]:
    """What selects the pods of a role."""
    return {"app.kubernetes.io/name": role, "app.kubernetes.io/part-of": PART_OF}


def metadata(name: str, role: str | None = None, **more: Any) -> dict[str, Any]:
    """An object's name, and the labels of its role."""
    of_role = labels(role) if role else {"app.kubernetes.io/part-of": PART_OF}
    return {"name": name, "labels": of_role, **more}
