"""KEDA's objects: more instances of a role when its input waits."""

from __future__ import annotations

from typing import Any

from deploy.manifests.names import BOOTSTRAP, CA_SECRET, KAFKA_PORT, KEDA, NAMESPACE, PARTITIONS, metadata
from schemas.topics import EXECUTIONS, QUOTES, SIGNALS, Topic

_API = "keda.sh/v1alpha1"
_INPUTS: dict[str, tuple[Topic, int]] = {
    "signals": (QUOTES, 20_000),
    "execution": (SIGNALS, 2_000),
    "portfolio": (EXECUTIONS, 2_000),
}
"""What each role reads, and how many records that wait are worth one more instance."""


def scaled_objects() -> list[dict[str, Any]]:
    """How KEDA reaches Kafka, and a ScaledObject for each role that is scaled."""
    # KEDA takes the name from here alone, and Strimzi's secret of a user has none.
    user = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(KEDA), "data": {"username": KEDA}}
    authentication = {
        "apiVersion": _API,
        "kind": "TriggerAuthentication",
        "metadata": metadata("kafka"),
        "spec": {
            "configMapTargetRef": [{"parameter": "username", "name": KEDA, "key": "username"}],
            "secretTargetRef": [
                {"parameter": "password", "name": KEDA, "key": "password"},
                {"parameter": "ca", "name": CA_SECRET, "key": "ca.crt"},
            ],
        },
    }
    return [user, authentication, *(_scaled(role, topic, lag) for role, (topic, lag) in _INPUTS.items())]


def _scaled(role: str, topic: Topic, lag: int) -> dict[str, Any]:
    trigger = {
        "type": "kafka",
        "metadata": {
            # KEDA asks from a namespace of its own.
            "bootstrapServers": f"{BOOTSTRAP}.{NAMESPACE}.svc:{KAFKA_PORT}",
            "consumerGroup": role,
            "topic": topic.name,
            "lagThreshold": str(lag),
            # A transaction ends in a marker, which nobody reads: an idle input shows a lag of 1 in each partition.
            "activationLagThreshold": str(2 * PARTITIONS),
            "sasl": "scram_sha512",
            "tls": "enable",
        },
        "authenticationRef": {"name": "kafka"},
    }
    return {
        "apiVersion": _API,
        "kind": "ScaledObject",
        "metadata": metadata(role, role),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": role},
            "minReplicaCount": 1,
            "maxReplicaCount": PARTITIONS,
            "pollingInterval": 15,
            "advanced": {
                # An instance that leaves is missed for its session's 6 s, so they should not come and go.
                "horizontalPodAutoscalerConfig": {
                    "behavior": {
                        "scaleDown": {
                            "stabilizationWindowSeconds": 600,
                            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 120}],
                        }
                    }
                }
            },
            "triggers": [trigger],
        },
    }
