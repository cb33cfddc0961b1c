"""What stands around the pods: disruption budgets, network policies, monitors, the kustomization."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from deploy.manifests.names import CLUSTER, HEALTH_PORT, IMAGE, KAFKA_PORT, NAMESPACE, PART_OF, labels, metadata
from deploy.manifests.roles import AGENTS

_OURS = {"matchLabels": {"app.kubernetes.io/part-of": PART_OF}}
_ALERTS = Path(__file__).parents[1] / "prometheus" / "alerts.yml"
_AGENT_NAMES = [role.name for role in AGENTS]


def disruption_budgets() -> list[dict[str, Any]]:
    """Nodes are drained one agent of a role at a time."""
    return [
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata(name, name),
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels(name)}},
        }
        for name in _AGENT_NAMES
    ]


def network_policies() -> list[dict[str, Any]]:
    """Nothing but: names and Kafka for all, health pages for monitoring and the page, the page for who is allowed."""
    dns = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    kafka = {"podSelector": {"matchLabels": {"strimzi.io/cluster": CLUSTER, "strimzi.io/kind": "Kafka"}}}
    agents = {
        "matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "In", "values": _AGENT_NAMES}],
        **_OURS,
    }
    monitoring = {"namespaceSelector": {"matchLabels": {"market-maker/monitoring": "allowed"}}}
    page = {"podSelector": {"matchLabels": labels("dashboard")}}
    visitors = {"namespaceSelector": {"matchLabels": {"market-maker/dashboard": "allowed"}}}
    health = [{"port": HEALTH_PORT, "protocol": "TCP"}]
    return [
        _policy("nothing-else", _OURS, ingress=[], egress=[]),
        _policy(
            "names-and-kafka",
            _OURS,
            egress=[
                {
                    "to": [
                        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}},
                    ],
                    "ports": dns,
                },
                {"to": [kafka], "ports": [{"port": KAFKA_PORT, "protocol": "TCP"}]},
            ],
        ),
        _policy("health-pages", agents, ingress=[{"from": [monitoring, page], "ports": health}]),
        _policy(
            "dashboard",
            {"matchLabels": labels("dashboard")},
            ingress=[{"from": [visitors], "ports": health}],
            egress=[{"to": [{"podSelector": agents}], "ports": health}],
        ),
    ]


def _policy(name: str, pods: dict[str, Any], **directions: list[Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(name),
        "spec": {
            "podSelector": pods,
            "policyTypes": [direction.capitalize() for direction in directions],
            **{direction: rules for direction, rules in directions.items() if rules},
        },
    }


def monitors() -> list[dict[str, Any]]:
    """How Prometheus' operator finds the agents."""
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PodMonitor",
            "metadata": metadata(name, name),
            "spec": {
                "selector": {"matchLabels": labels(name)},
                "podMetricsEndpoints": [{"port": "health", "path": "/metrics", "interval": "10s"}],
            },
        }
        for name in _AGENT_NAMES
    ]


def alerts() -> list[dict[str, Any]]:
    """The alerts of Prometheus' for its operator."""
    rules = yaml.safe_load(_ALERTS.read_text())
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": metadata("alerts"),
            "spec": rules,
        }
    ]


def kustomization(files: list[str]) -> dict[str, Any]:
    """Puts the files together; images is where a registry and a version come in."""
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": files,
        "images": [{"name": IMAGE, "newTag": "0.1.0"}],
    }
