"""Strimzi's objects: the cluster, a KafkaTopic for each topic, a KafkaUser with its rights for each role."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from deploy.acls import Acl, acls
from deploy.manifests.names import CLUSTER, KAFKA_PORT, KEDA, PARTITIONS
from schemas.topics import TOPICS, Topic

_API = "kafka.strimzi.io/v1"
_REPLICAS = 3
_MIN_IN_SYNC = 2
_KINDS = {"topic": "topic", "group": "group", "transactional-id": "transactionalId"}


# Every broker holds every partition. Half is for quotes up to their bound by bytes (8 GiB a partition and a segment),
# half for the rest: docs/operations.md, Sizing.
_DISK = "200Gi"


def cluster() -> list[dict[str, Any]]:
    """Three brokers that are controllers too; clients come by TLS and SCRAM, and need rights."""
    pool = {
        "apiVersion": _API,
        "kind": "KafkaNodePool",
        "metadata": {"name": "brokers", "labels": {"strimzi.io/cluster": CLUSTER}},
        "spec": {
            "replicas": _REPLICAS,
            "roles": ["controller", "broker"],
            "storage": {"type": "persistent-claim", "size": _DISK, "deleteClaim": False},
            "resources": {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"memory": "4Gi"}},
            "jvmOptions": {"-Xms": "2g", "-Xmx": "2g"},
        },
    }
    kafka = {
        "apiVersion": _API,
        "kind": "Kafka",
        "metadata": {
            "name": CLUSTER,
            "annotations": {"strimzi.io/kraft": "enabled", "strimzi.io/node-pools": "enabled"},
        },
        "spec": {
            "kafka": {
                "listeners": [
                    {
                        "name": "clients",
                        "port": KAFKA_PORT,
                        "type": "internal",
                        "tls": True,
                        "authentication": {"type": "scram-sha-512"},
                    }
                ],
                "authorization": {"type": "simple"},
                "config": {
                    "auto.create.topics.enable": False,
                    "default.replication.factor": _REPLICAS,
                    "min.insync.replicas": _MIN_IN_SYNC,
                    "offsets.topic.replication.factor": _REPLICAS,
                    "transaction.state.log.replication.factor": _REPLICAS,
                    "transaction.state.log.min.isr": _MIN_IN_SYNC,
                    # the transactions of an agent that never returns would hold readers back for 10 s more
                    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
                    "group.initial.rebalance.delay.ms": 0,
                },
            },
            "entityOperator": {"topicOperator": {}, "userOperator": {}},
        },
    }
    return [pool, kafka]


def topics() -> list[dict[str, Any]]:
    """Every topic of the project."""
    return [_topic(topic) for topic in TOPICS.values()]


def users() -> list[dict[str, Any]]:
    """Every principal; Strimzi keeps the password in a secret of the same name."""
    return [_user(name, rights) for name, rights in _users_acls().items()]


def _topic(topic: Topic) -> dict[str, Any]:
    return {
        "apiVersion": _API,
        "kind": "KafkaTopic",
        "metadata": {"name": topic.name.replace("_", "-"), "labels": {"strimzi.io/cluster": CLUSTER}},
        "spec": {
            "topicName": topic.name,
            "partitions": topic.partitions or PARTITIONS,
            "replicas": _REPLICAS,
            "config": {**topic.settings, "min.insync.replicas": str(_MIN_IN_SYNC)},
        },
    }


def _users_acls() -> dict[str, list[dict[str, Any]]]:
    """Strimzi's form of the rights that `deploy.acls` gives, and what KEDA needs to see the lag."""
    users: dict[str, list[dict[str, Any]]] = {}
    by_resource = groupby(sorted(acls(), key=_resource), _resource)
    for (principal, kind, prefixed, name), same in by_resource:
        operations = sorted(acl.operation for acl in same)
        users.setdefault(principal.removeprefix("User:"), []).append(_acl(kind, name, operations, prefixed))
    users[KEDA] = [_acl("topic", "*", ["Describe"]), _acl("group", "*", ["Describe"])]
    return users


def _resource(acl: Acl) -> tuple[str, str, bool, str]:
    return acl.principal, acl.kind, acl.prefixed, acl.name


def _acl(kind: str, name: str, operations: list[str], prefixed: bool = False) -> dict[str, Any]:
    resource = {"type": _KINDS[kind], "name": name, "patternType": "prefix" if prefixed else "literal"}
    return {"resource": resource, "operations": operations}


def _user(name: str, rights: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": _API,
        "kind": "KafkaUser",
        "metadata": {"name": name, "labels": {"strimzi.io/cluster": CLUSTER}},
        "spec": {
            "authentication": {"type": "scram-sha-512"},
            "authorization": {"type": "simple", "acls": rights},
        },
    }
