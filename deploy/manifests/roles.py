"""The roles as pods: StatefulSets, whose pods keep their names and with them their instances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deploy.manifests.names import BOOTSTRAP, CA_SECRET, HEALTH_PORT, IMAGE, KAFKA_PORT, labels, metadata
from schemas.topics import Writer

USER_ID = 10001
_CA_FOLDER = "/etc/kafka-ca"
_WAIT_SECONDS = 300


@dataclass(frozen=True)
class Role:
    """An agent. cpu and memory are requests; the limit on memory is memory_limit. scaled: by lag, else one."""

    name: str
    cpu: str
    memory: str
    memory_limit: str
    scaled: bool = True


# Of the measured table in docs/operations.md, Sizing: a request holds what an idle agent has, the limit a quarter more
# than the most that was seen. cpu: what 0.9 million quotes/s, 8 thousand signals/s and 5 thousand executions/s take.
AGENTS = (
    Role("signals", "500m", "384Mi", "1Gi"),
    Role("execution", "250m", "256Mi", "512Mi"),
    Role("portfolio", "100m", "256Mi", "512Mi"),
    Role("surveillance", "100m", "128Mi", "512Mi", scaled=False),
)


def agents() -> list[dict[str, Any]]:
    """A headless service and a StatefulSet for each agent."""
    return [item for role in AGENTS for item in (_headless(role.name), _agent(role))]


def feed() -> list[dict[str, Any]]:
    """Made-up quotes, for trying: take it out of kustomization.yaml where a market is connected."""
    arguments = ["feed", "synthetic", "--symbols=3", "--rate=100"]
    container = _container("feed", arguments, cpu="100m", memory="256Mi", memory_limit="512Mi", user=Writer.FEEDS.value)
    return [_headless("feed"), _stateful_set("feed", container, replicas=1)]


def dashboard() -> list[dict[str, Any]]:
    """The page and its service; who reaches it is for an ingress of yours to say."""
    arguments = ["dashboard", "--host=0.0.0.0", f"--port={HEALTH_PORT}"]
    arguments += [f"--health=http://{role.name}-0.{role.name}:{HEALTH_PORT}" for role in AGENTS if role.scaled]
    container = _container("dashboard", arguments, "100m", "192Mi", "512Mi", user=Writer.OPERATOR.value)
    container["env"].append(_from_secret("MM_DASHBOARD_PASSWORD", "dashboard-password", "password"))
    container |= _probes(live="/login", ready="/login")
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata("dashboard-page", "dashboard"),
        "spec": {
            "selector": labels("dashboard"),
            "ports": [{"name": "http", "port": 80, "targetPort": HEALTH_PORT}],
        },
    }
    return [service, _headless("dashboard"), _stateful_set("dashboard", container, replicas=1)]


def _agent(role: Role) -> dict[str, Any]:
    arguments = [role.name, f"--wait={_WAIT_SECONDS}", "--health-host=0.0.0.0", f"--health-port={HEALTH_PORT}"]
    container = _container(role.name, arguments, role.cpu, role.memory, role.memory_limit)
    container |= _probes(live="/live", ready="/ready")
    # Where lag decides on the replicas, naming them here would undo that at each `kubectl apply`.
    return _stateful_set(role.name, container, replicas=None if role.scaled else 1)


def _headless(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, name),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": labels(name),
            "ports": [{"name": "health", "port": HEALTH_PORT}],
        },
    }


def _stateful_set(name: str, container: dict[str, Any], replicas: int | None) -> dict[str, Any]:
    spec = {} if replicas is None else {"replicas": replicas}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(name, name),
        "spec": {
            **spec,
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels(name)},
            "template": {"metadata": {"labels": labels(name)}, "spec": _pod(name, container)},
        },
    }


def _pod(name: str, container: dict[str, Any]) -> dict[str, Any]:
    return {
        # Kubernetes' variables for services named kafka-… would be taken for settings of the Kafka client.
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 15,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels(name)},
            }
        ],
        "containers": [container],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
            {"name": "kafka-ca", "secret": {"secretName": CA_SECRET, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        ],
    }


def _container(
    name: str, arguments: list[str], cpu: str, memory: str, memory_limit: str, user: str | None = None
) -> dict[str, Any]:
    """user: the principal on Kafka, else the role's name."""
    user = user or name
    return {
        "name": name,
        "image": IMAGE,
        "args": arguments,
        "env": [
            {"name": "MM_BOOTSTRAP", "value": f"{BOOTSTRAP}:{KAFKA_PORT}"},
            {"name": "KAFKA_SECURITY_PROTOCOL", "value": "SASL_SSL"},
            {"name": "KAFKA_SASL_MECHANISM", "value": "SCRAM-SHA-512"},
            {"name": "KAFKA_SASL_USERNAME", "value": user},
            _from_secret("KAFKA_SASL_PASSWORD", user, "password"),
            {"name": "KAFKA_SSL_CA_LOCATION", "value": f"{_CA_FOLDER}/ca.crt"},
        ],
        "ports": [{"name": "health", "containerPort": HEALTH_PORT}],
        "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory_limit}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "kafka-ca", "mountPath": _CA_FOLDER, "readOnly": True},
        ],
    }


def _from_secret(variable: str, secret: str, key: str) -> dict[str, Any]:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def _probes(live: str, ready: str) -> dict[str, Any]:
    return {
        # The pages come once broker and topics are there.
        "startupProbe": {"httpGet": _page(live), "periodSeconds": 2, "failureThreshold": _WAIT_SECONDS // 2 + 30},
        "livenessProbe": {"httpGet": _page(live), "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
        "readinessProbe": {"httpGet": _page(ready), "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 2},
    }


def _page(path: str) -> dict[str, Any]:
    return {"path": path, "port": "health"}
