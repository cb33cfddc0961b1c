"""Where a test's Kafka comes from: a given address, else a container, else the embedded broker."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from filelock import FileLock

from deploy.broker import SINGLE_NODE, Broker
from deploy.ports import HOST, free_port

if TYPE_CHECKING:
    import docker

IMAGE = "apache/kafka:4.2.2"
CONTAINER_PORT = 19092
CONTAINER_START_SECONDS = 90


@dataclass(frozen=True)
class Kafka:
    """A running Kafka: its address, and where it came from ("given", "container" or "embedded")."""

    bootstrap: str
    source: str


@contextlib.contextmanager
def running_kafka() -> Iterator[Kafka]:
    """A Kafka for a `with` block; nothing of it stays, but for one that was given by MM_TEST_BOOTSTRAP."""
    given = os.environ.get("MM_TEST_BOOTSTRAP")
    if given:
        yield Kafka(given, "given")
    elif _engine_has_image():
        with _container() as bootstrap:
            yield Kafka(bootstrap, "container")
    else:
        with tempfile.TemporaryDirectory(prefix="mm-test-kafka-") as home, Broker(Path(home)) as broker:
            yield Kafka(broker.bootstrap, "embedded")


@contextlib.contextmanager
def shared_kafka(folder: Path) -> Iterator[Kafka]:
    """One Kafka for all processes that name the same `folder`.

    The first one in starts it and stops it when the others are done, which their locks tell: the system frees
    the lock of a process that was killed. If the first one is killed, its Kafka ends with it.
    """
    address = folder / "kafka.address"
    door = FileLock(folder / "kafka.door")
    with contextlib.ExitStack() as stack:
        users = stack.enter_context((folder / "kafka.users").open("w"))
        with door:
            if address.exists():
                fcntl.flock(users, fcntl.LOCK_SH)
                kafka = Kafka(*address.read_text().split())
            else:
                kafka = stack.enter_context(running_kafka())
                address.write_text(f"{kafka.bootstrap} {kafka.source}")
                stack.callback(_close, address, door, users)
        yield kafka


def _close(address: Path, door: FileLock, users: TextIO) -> None:
    with door:
        address.unlink()
    fcntl.flock(users, fcntl.LOCK_EX)


def _engine_has_image() -> bool:
    """Whether a container engine on this machine answers and has the image, or can get it."""
    import docker
    from docker.errors import DockerException, ImageNotFound

    if os.environ.get("DOCKER_HOST", "unix:").split(":")[0] != "unix":
        return False  # its ports are not on this machine's loopback
    try:
        client = docker.from_env(timeout=60)
    except DockerException:
        return False
    with contextlib.closing(client):
        try:
            client.images.get(IMAGE)
        except ImageNotFound:
            return _can_pull(client)
        except (DockerException, OSError):
            return False
    return True


def _can_pull(client: "docker.DockerClient") -> bool:
    from docker.errors import DockerException

    try:
        client.images.pull(IMAGE)
    except (DockerException, OSError):
        return False
    return True


@contextlib.contextmanager
def _container() -> Iterator[str]:
    """The official image, configured through its environment; the address for this machine.

    Not testcontainers' KafkaContainer, which is for another vendor's image. The port is chosen here, as the
    broker must know from its start under which address clients see it.
    """
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    testcontainers_config.ryuk_disabled = True  # it would need an image of its own
    bootstrap = f"{HOST}:{free_port()}"
    ready = LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(CONTAINER_START_SECONDS)
    container = DockerContainer(IMAGE).with_bind_ports(CONTAINER_PORT, int(bootstrap.split(":")[1]))
    for name, value in _container_properties(bootstrap).items():
        container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    with container.with_env("KAFKA_HEAP_OPTS", "-Xms128m -Xmx1g").waiting_for(ready):
        yield bootstrap


def _container_properties(bootstrap: str) -> dict[str, str]:
    # all of them: one KAFKA_ variable, and the image's own defaults are gone
    return {
        **SINGLE_NODE,
        "controller.quorum.voters": "1@localhost:9093",
        "listeners": f"INSIDE://:9092,OUTSIDE://:{CONTAINER_PORT},CONTROLLER://:9093",
        "advertised.listeners": f"INSIDE://localhost:9092,OUTSIDE://{bootstrap}",
        "listener.security.protocol.map": "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INSIDE",
    }
