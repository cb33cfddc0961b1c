"""The manifests: equal to what is generated, true to the topics, commands that exist, and valid for Kubernetes."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from agents.cli import app
from deploy.manifests import FOLDER, documents, render
from deploy.manifests.names import PARTITIONS
from schemas.topics import TOPICS, Writer
from tests.deploy import published_schemas

ROOT = Path(__file__).parents[2]
PODS = ("signals", "execution", "portfolio", "surveillance", "feed", "dashboard")
MONEY = ("signals", "execution", "portfolio")


def all_of(kind: str) -> list[dict[str, Any]]:
    """Every object of a kind that is written."""
    return [
        item
        for path in sorted(FOLDER.glob("*.yaml"))
        for item in yaml.safe_load_all(path.read_text())
        if item["kind"] == kind
    ]


def named(kind: str, name: str) -> dict[str, Any]:
    (found,) = [item for item in all_of(kind) if item["metadata"]["name"] == name]
    return found


def container_of(role: str) -> dict[str, Any]:
    (container,) = named("StatefulSet", role)["spec"]["template"]["spec"]["containers"]
    return container


def test_the_files_are_what_the_generator_writes() -> None:
    written = {name: render(items) for name, items in documents().items()}
    kept = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert kept == written, "run: python -m deploy.manifests"


def test_every_topic_is_declared_with_its_settings() -> None:
    declared = {topic["spec"]["topicName"]: topic["spec"] for topic in all_of("KafkaTopic")}
    assert declared.keys() == TOPICS.keys()
    for name, topic in TOPICS.items():
        assert declared[name]["partitions"] == (topic.partitions or PARTITIONS)
        assert declared[name]["config"].items() >= topic.settings.items()


def test_a_broker_has_room_for_twice_the_quotes_that_are_kept() -> None:
    (pool,) = all_of("KafkaNodePool")
    (quotes,) = [topic["spec"] for topic in all_of("KafkaTopic") if topic["spec"]["topicName"] == "quotes"]
    bound = int(quotes["config"]["retention.bytes"]) + int(quotes["config"]["segment.bytes"])
    assert quotes["replicas"] == pool["spec"]["replicas"]  # so that each broker has all of them
    size = pool["spec"]["storage"]["size"]
    assert size.endswith("Gi") and int(size[:-2]) << 30 >= 2 * quotes["partitions"] * bound


def allowed(operation: str) -> dict[str, set[str]]:
    """Topics to users that may do an operation on them."""
    users: dict[str, set[str]] = {name: set() for name in TOPICS}
    for user in all_of("KafkaUser"):
        for acl in user["spec"]["authorization"]["acls"]:
            resource = acl["resource"]
            if operation not in acl["operations"] or resource["type"] != "topic":
                continue
            for name in TOPICS:
                literal = resource["patternType"] == "literal" and resource["name"] in (name, "*")
                if literal or (resource["patternType"] == "prefix" and name.startswith(resource["name"])):
                    users[name].add(user["metadata"]["name"])
    return users


def test_only_the_writers_of_a_topic_may_write_it() -> None:
    several = {
        Writer.MONEY_AGENTS: set(MONEY),
        Writer.EVERY_AGENT: {*MONEY, "surveillance"},
    }
    for name, users in allowed("Write").items():
        writer = TOPICS[name].writer
        assert users == several.get(writer, {writer.value}), name


def test_agents_may_read_their_inputs_and_what_they_restore_from() -> None:
    from agents.execution import ExecutionAgent
    from agents.portfolio import PortfolioAgent
    from agents.signals import SignalsAgent
    from agents.surveillance.sources import SOURCES

    readers = allowed("Read")
    for agent in (SignalsAgent, ExecutionAgent, PortfolioAgent):
        for topic in (agent.source, agent.table):
            assert agent.role in readers[topic.name], (agent.role, topic.name)
        assert agent.role in readers["checkpoints"]
    assert "signals" in readers["controls"]
    assert all("surveillance" in readers[source.topic.name] for source in SOURCES)
    users = {user["metadata"]["name"] for user in all_of("KafkaUser")}
    assert all(describers == users for describers in allowed("Describe").values()), "who may not sees no topic"


@pytest.mark.parametrize("role", PODS)
def test_a_pod_comes_as_a_user_that_there_is(role: str) -> None:
    variables = {variable["name"]: variable for variable in container_of(role)["env"]}
    user = variables["KAFKA_SASL_USERNAME"]["value"]
    assert named("KafkaUser", user)
    assert variables["KAFKA_SASL_PASSWORD"]["valueFrom"]["secretKeyRef"]["name"] == user


@pytest.mark.parametrize("role", PODS)
def test_a_pod_can_change_nothing_and_keeps_its_name(role: str) -> None:
    spec = named("StatefulSet", role)["spec"]
    pod, container = spec["template"]["spec"], container_of(role)
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    assert not pod["enableServiceLinks"], "variables of services named kafka-... would become client settings"
    assert spec["serviceName"] == named("Service", role)["metadata"]["name"]
    assert "--instance" not in " ".join(container["args"]), "the pod's name is the instance"


@pytest.mark.parametrize("role", [*MONEY, "surveillance"])
def test_an_agent_is_probed_watched_and_drained_one_at_a_time(role: str) -> None:
    container = container_of(role)
    assert container["livenessProbe"]["httpGet"] == {"path": "/live", "port": "health"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "health"}
    (port,) = container["ports"]
    assert f"--health-port={port['containerPort']}" in container["args"]
    assert named("PodDisruptionBudget", role)["spec"]["maxUnavailable"] == 1
    (endpoint,) = named("PodMonitor", role)["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == (port["name"], "/metrics")


@pytest.mark.parametrize("role", [*MONEY, "surveillance"])
def test_an_agent_has_the_memory_that_it_was_measured_to_take(role: str) -> None:
    text = (ROOT / "docs" / "operations.md").read_text().partition("\n## Sizing\n")[2].partition("\n## ")[0]
    measured = re.findall(rf"^\| {role}\b.*?\| (\d+) (?:/|to) (\d+) MB \|$", text, re.MULTILINE)
    idle, most = (max(int(row[i]) for row in measured) for i in (0, 1))
    resources = container_of(role)["resources"]
    mib = {"Mi": 1, "Gi": 1024}
    request, limit = (
        int(given[:-2]) * mib[given[-2:]] * 1.048576
        for given in (resources["requests"]["memory"], resources["limits"]["memory"])
    )
    assert idle <= request < limit
    assert 1.25 * most <= limit


@pytest.mark.parametrize("role", MONEY)
def test_lag_scales_up_to_the_partitions_and_markers_wake_nobody(role: str) -> None:
    scaled = named("ScaledObject", role)["spec"]
    (trigger,) = scaled["triggers"]
    spec = next(t["spec"] for t in all_of("KafkaTopic") if t["spec"]["topicName"] == trigger["metadata"]["topic"])
    assert scaled["maxReplicaCount"] == spec["partitions"]
    assert int(trigger["metadata"]["activationLagThreshold"]) > spec["partitions"]
    assert int(trigger["metadata"]["lagThreshold"]) > spec["partitions"]
    assert trigger["metadata"]["consumerGroup"] == role
    assert "replicas" not in named("StatefulSet", role)["spec"]


@pytest.mark.parametrize("role", MONEY)
def test_keda_is_given_what_it_signs_in_with_and_an_address_for_its_own_namespace(role: str) -> None:
    (trigger,) = named("ScaledObject", role)["spec"]["triggers"]
    spec = named("TriggerAuthentication", trigger["authenticationRef"]["name"])["spec"]
    secrets = {ref["parameter"]: (ref["name"], ref["key"]) for ref in spec["secretTargetRef"]}
    texts = {
        ref["parameter"]: named("ConfigMap", ref["name"])["data"][ref["key"]] for ref in spec["configMapTargetRef"]
    }
    user = named("KafkaUser", texts["username"])["metadata"]["name"]
    assert secrets["password"] == (user, "password")  # as Strimzi names the secret
    assert secrets["ca"][1] == "ca.crt"
    assert "username" not in trigger["metadata"], "KEDA reads none there"
    (kustomization,) = all_of("Kustomization")
    variables = {variable["name"]: variable.get("value") for variable in container_of(role)["env"]}
    short, _, port = variables["MM_BOOTSTRAP"].partition(":")
    assert trigger["metadata"]["bootstrapServers"] == f"{short}.{kustomization['namespace']}.svc:{port}"


def check_command(arguments: Iterable[str]) -> None:
    """Parse a command line as the mm command would; fails as it would."""
    command, left = typer.main.get_command(app), list(arguments)
    while hasattr(command, "commands"):
        command = command.commands[left.pop(0)]
    command.make_context(command.name, left)


@pytest.mark.parametrize("role", PODS)
def test_pods_run_commands_that_exist(role: str) -> None:
    check_command(container_of(role)["args"])


def test_the_composition_runs_commands_that_exist() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    defaults = {"${MM_PARTITIONS:-4}": "4", "${MM_SYMBOLS:-3}": "3", "${MM_RATE:-100}": "100"}
    ours = {name: service for name, service in services.items() if "market-maker" in service["image"]}
    assert ours.keys() == {"topics", *PODS}
    for service in ours.values():
        check_command(defaults.get(argument, argument) for argument in service["command"])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What would be applied, by kustomize."""
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl, whose kustomize puts the files together")
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    path = tmp_path_factory.mktemp("built") / "all.yaml"
    path.write_text(done.stdout)
    return path


def test_kustomize_puts_the_files_together(built: Path) -> None:
    items = list(yaml.safe_load_all(built.read_text()))
    assert len(items) == sum(len(group) for name, group in documents().items() if name != "kustomization.yaml")
    assert {item["metadata"]["namespace"] for item in items} == {"market-maker"}


def manifests() -> list[Path]:
    return [path for path in sorted(FOLDER.glob("*.yaml")) if path.name != "kustomization.yaml"]


@pytest.mark.timeout(900)
def test_the_published_schemas_accept_them_and_refuse_what_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    items = [named("StatefulSet", "signals"), named("ScaledObject", "signals"), named("PodMonitor", "signals")]
    items.append(named("PrometheusRule", "alerts"))
    for item in items:
        item["spec"]["notAField"] = 1
    wrong.write_text(yaml.safe_dump_all(items))
    try:
        assert published_schemas.invalid(manifests()) == ""
        refused = published_schemas.invalid([wrong])
    except published_schemas.NoSchemas as error:
        pytest.skip(str(error))
    for kind in ("StatefulSet", "ScaledObject", "PodMonitor"):
        assert f"{kind} signals is invalid" in refused
    assert "PrometheusRule alerts is invalid" in refused


@pytest.mark.timeout(900)
def test_strimzis_schemas_accept_them_and_refuse_what_is_wrong() -> None:
    items = [item for kind in ("Kafka", "KafkaNodePool", "KafkaTopic", "KafkaUser") for item in all_of(kind)]
    wrong = named("KafkaTopic", items[2]["metadata"]["name"])
    wrong["spec"]["partitions"] = "many"
    try:
        assert published_schemas.invalid_for_strimzi(items) == []
        (refused,) = published_schemas.invalid_for_strimzi([wrong])
    except published_schemas.NoSchemas as error:
        pytest.skip(str(error))
    assert "/spec/partitions" in refused
