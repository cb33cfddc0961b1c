"""The composition on a real engine: it comes up, scales, survives a kill, trades once, and goes without a trace."""

import contextlib
import json
import math
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from agents.stream.config import KafkaConfig
from agents.stream.watch import read_whole
from deploy.ports import free_port
from schemas.records import Execution, Trade
from tests.deploy import engine as engines
from tests.deploy.engine import Engine, NoEngine, NotPrepared, running_engine
from tests.deploy.images import KAFKA, PROMETHEUS, PYTHON, provided

ROOT = Path(__file__).parents[2]
ROLES = ("signals", "execution", "portfolio", "surveillance")
PARTITIONS = 4
INSTANCES = "count by (service) (up == 1)"
# No alert has been raised, no signal refused: a good day.
MAY_BE_EMPTY = {
    "sum by (rule, severity) (mm_surveillance_open_alerts)",
    "sum by (reason) (mm_surveillance_window_refused)",
}
BUILD_SECONDS = 900.0
PATIENCE_SECONDS = 180.0

pytestmark = pytest.mark.timeout(engines.ANOTHER_RUN_SECONDS + BUILD_SECONDS + 4 * PATIENCE_SECONDS)


@dataclass(frozen=True)
class Container:
    """What the engine says of one container."""

    name: str
    host_name: str
    address: str
    health: str
    status: str
    exit_code: int
    restarts: int
    restart_policy: str
    image: str

    def page(self, path: str) -> str | None:
        """One of its health pages, None where it does not answer with 200."""
        try:
            with urllib.request.urlopen(f"http://{self.address}:8080{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return None

    def metric(self, name: str) -> float | None:
        """A metric that it has once, None where it does not answer."""
        lines = (self.page("/metrics") or "").splitlines()
        values = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{")]
        return values[0] if values else None


class Composition:
    """A project of its own on free ports."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.project = f"mm-test-{secrets.token_hex(3)}"
        self.kafka_port = free_port()
        self.prometheus_port = free_port()
        self.config = KafkaConfig(f"127.0.0.1:{self.kafka_port}")
        self.environment = {
            **engine.environment,
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_PROFILES": "",
            "MM_IMAGE": f"market-maker:{self.project}",
            "MM_KAFKA_PORT": str(self.kafka_port),
            "MM_DASHBOARD_PORT": str(free_port()),
            "MM_PROMETHEUS_PORT": str(self.prometheus_port),
            "MM_PARTITIONS": str(PARTITIONS),
            "MM_DECISION_SECONDS": "1",
            "MM_BAND_SD": "0.2",
        }

    def compose(self, *arguments: str, seconds: float = PATIENCE_SECONDS) -> str:
        """Run docker compose on this project."""
        return self.docker("compose", *arguments, seconds=seconds)

    def docker(self, *arguments: str, seconds: float = PATIENCE_SECONDS) -> str:
        """What a docker command prints; fails with what it says."""
        command = ("docker", *arguments)
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=self.environment, cwd=ROOT)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-2000:]}"
        return done.stdout

    def containers(self, service: str) -> list[Container]:
        """Those of a service, by their numbers."""
        ids = self.compose("ps", "--all", "--quiet", service).split()
        found = json.loads(self.docker("inspect", *ids)) if ids else []
        return sorted(map(_container, found), key=lambda container: container.name)

    def trades(self) -> list[Trade]:
        """Every committed trade."""
        decode = msgspec.json.Decoder(Trade).decode
        return [decode(message.value()) for message in read_whole(self.config, "trades")]

    def executions(self) -> list[Execution]:
        """Every committed execution."""
        decode = msgspec.json.Decoder(Execution).decode
        return [decode(message.value()) for message in read_whole(self.config, "executions")]

    def query(self, expression: str) -> list[dict]:
        """What Prometheus answers: a list of series with their newest values."""
        asked = urllib.parse.urlencode({"query": expression})
        address = f"http://127.0.0.1:{self.prometheus_port}/api/v1/query?{asked}"
        with urllib.request.urlopen(address, timeout=20) as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        return found["data"]["result"]

    def remove(self) -> None:
        """Take it down with its volumes and its image."""
        self.compose("--profile", "monitoring", "down", "--volumes", "--timeout", "10")
        self.docker("rmi", "--force", self.environment["MM_IMAGE"])


def _container(found: dict) -> Container:
    state = found["State"]
    networks = found["NetworkSettings"]["Networks"].values()
    return Container(
        name=found["Name"].lstrip("/"),
        host_name=found["Config"]["Hostname"],
        address=next(iter(networks))["IPAddress"],
        health=state.get("Health", {}).get("Status", "none"),
        status=state["Status"],
        exit_code=state["ExitCode"],
        restarts=found["RestartCount"],
        restart_policy=found["HostConfig"]["RestartPolicy"]["Name"],
        image=found["Image"],
    )


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def desk() -> Iterator[Composition]:
    """All of it but Grafana, on one machine."""
    with contextlib.ExitStack() as stack:
        try:
            engine = stack.enter_context(running_engine())
            stack.enter_context(provided(engine, PYTHON, KAFKA, PROMETHEUS))
        except NoEngine as error:
            give_up(error)
        composition = Composition(engine)
        try:
            composition.compose("build", seconds=BUILD_SECONDS)
            composition.compose("up", "--detach", "--no-build")
            composition.compose("up", "--detach", "--no-build", "prometheus")
            yield composition
        except BaseException:
            print(composition.compose("logs", "--no-color", "--tail=40"))
            raise
        finally:
            composition.remove()
            left = composition.docker("volume", "ls", "--quiet", "--filter", f"name={composition.project}")
            assert not left, f"volumes stayed: {left}"


HOLD = """
import sys
from tests.deploy.engine import running_engine
with running_engine() as engine:
    print(engine.ours and engine.succeeds("docker", "network", "create", "mm-test"), flush=True)
    sys.stdin.read()
"""


def test_an_engine_of_ours_leaves_nothing_when_the_tests_are_killed() -> None:
    before = clean_machine()
    with subprocess.Popen([sys.executable, "-c", HOLD], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdin is not None and run.stdout is not None
        try:
            assert run.stdout.readline() == b"True\n"
            made = engines.traces() - before
            assert "docker0" in made | before and any(trace.startswith("br-") for trace in made)
        finally:
            run.kill()
    with engines.alone():  # once what cleans up behind it is done
        assert engines.traces() == before


def clean_machine() -> set[str]:
    """The traces of engines before one is started; skips where none can be, or where the machine has its own."""
    try:
        with running_engine() as engine:
            if not engine.ours:
                pytest.skip("the machine's own engine answers")
    except NoEngine as error:
        give_up(error)
    return engines.traces()


def give_up(error: NoEngine) -> NoReturn:
    """Skip; but with MM_TEST_COMPOSE=required what could be there and is not is a failure."""
    if isinstance(error, NotPrepared) and os.environ.get("MM_TEST_COMPOSE") == "required":
        raise error
    pytest.skip(str(error))


def all_healthy(composition: Composition, service: str, count: int) -> bool:
    containers = composition.containers(service)
    return len(containers) == count and all(container.health == "healthy" for container in containers)


def test_every_role_comes_up_in_order_from_one_image(desk: Composition) -> None:
    for service in ("kafka", *ROLES, "dashboard"):
        wait_until(lambda service=service: all_healthy(desk, service, 1), f"{service} to be healthy")
    (topics,) = desk.containers("topics")
    assert (topics.status, topics.exit_code) == ("exited", 0)
    (feed,) = desk.containers("feed")
    assert feed.status == "running"
    services = ("topics", "feed", *ROLES, "dashboard")
    assert len({container.image for service in services for container in desk.containers(service)}) == 1
    policies = {service: desk.containers(service)[0].restart_policy for service in ("kafka", "prometheus", *services)}
    assert policies == {**dict.fromkeys(policies, "unless-stopped"), "topics": "on-failure"}


def test_the_image_is_lean_and_its_user_can_change_nothing(desk: Composition) -> None:
    (signals,) = desk.containers("signals")
    (image,) = json.loads(desk.docker("image", "inspect", signals.image))
    assert image["Config"]["User"] == "10001:10001"
    assert image["Size"] < 600e6
    run = ("exec", "-T", "signals", "sh", "-c")
    assert desk.compose(*run, "id -u").strip() == "10001"
    assert "read-only" in desk.compose(*run, "touch /app/x /opt/x 2>&1 | tail -1").lower()
    assert not desk.compose(*run, "command -v gcc cc g++ clang ld strip javac; true").strip()


def test_kernels_are_used_as_they_came_with_the_image(desk: Composition) -> None:
    """What numba compiles anew for a function that has an index changes that index."""
    indexes = "cd {} && cat */*.nbi | sha256sum && ls */*.nbi"
    wait_until(lambda: bool(desk.trades()), "a trade")
    for service in ("signals", "execution", "portfolio"):
        came, *names = desk.compose("exec", "-T", service, "sh", "-c", indexes.format("/opt/kernels")).splitlines()
        now = f"cd /tmp/kernels && cat {' '.join(names)} | sha256sum"
        assert names
        assert desk.compose("exec", "-T", service, "sh", "-c", now).strip() == came
        assert "compiling the kernels" not in desk.compose("logs", service)


def test_a_killed_one_of_three_comes_back_under_its_name_and_no_trade_is_twice(desk: Composition) -> None:
    desk.compose("up", "--detach", "--no-build", "--no-recreate", "--scale", "signals=3", "--scale", "execution=2")
    wait_until(lambda: all_healthy(desk, "signals", 3) and all_healthy(desk, "execution", 2), "all to be healthy")

    def held(service: str) -> list[float]:
        return sorted(container.metric("mm_partitions") or 0 for container in desk.containers(service))

    wait_until(lambda: held("signals") == [1, 1, 2], "three signals agents to share four partitions")
    wait_until(lambda: held("execution") == [2, 2], "two execution agents to share four partitions")
    names = [container.host_name for container in desk.containers("signals")]
    assert len(set(names)) == 3
    restarts = desk.containers("signals")[1].restarts

    killed_at = time.time_ns()
    desk.compose("exec", "-T", "--index", "2", "signals", "sh", "-c", "kill -9 $(cat /proc/1/task/1/children)")
    wait_until(lambda: desk.containers("signals")[1].restarts > restarts, "a restart")
    wait_until(lambda: all_healthy(desk, "signals", 3) and held("signals") == [1, 1, 2], "the killed one to work again")
    assert [container.host_name for container in desk.containers("signals")] == names
    desk.compose("kill", "--signal", "SIGKILL", "execution")
    desk.compose("up", "--detach", "--no-build", "--no-recreate", "--scale", "signals=3", "--scale", "execution=2")
    killed_at = max(killed_at, time.time_ns())

    wait_until(lambda: any(trade.ts > killed_at for trade in desk.trades()), "a trade on a quote after the kills")
    twice = [name for name, count in Counter(trade.id for trade in desk.trades()).items() if count > 1]
    assert not twice
    decisions = Counter((execution.symbol, execution.ts) for execution in desk.executions())
    assert set(decisions.values()) == {1}


def test_every_plot_of_the_metrics_dashboard_has_something_to_show(desk: Composition) -> None:
    """Of all instances, those that --scale has added too."""
    wanted = {"signals": 3, "execution": 2, "portfolio": 1, "surveillance": 1}

    def read() -> dict[str, int]:
        return {series["metric"]["service"]: int(series["value"][1]) for series in desk.query(INSTANCES)}

    def shows(expression: str) -> bool:
        return any(math.isfinite(float(series["value"][1])) for series in desk.query(expression))

    wait_until(lambda: read() == wanted, "Prometheus to read every instance")
    board = json.loads((ROOT / "deploy/grafana/dashboards/market-maker.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert set(asked) > MAY_BE_EMPTY
    for expression in asked:
        if expression in MAY_BE_EMPTY:
            desk.query(expression)  # which fails if it is none
        else:
            wait_until(partial(shows, expression), f"an answer to {expression}")


def test_a_command_that_the_image_has_no_part_for_says_so_in_one_line(desk: Composition) -> None:
    run = ["docker", "compose", "exec", "-T", "signals", "mm"]
    for command, missing in ((["bench", "--only", "kernel"], "benchmarks"), (["demo"], "jgo")):
        done = subprocess.run([*run, *command], env=desk.environment, cwd=ROOT, capture_output=True, text=True)
        (line,) = done.stderr.splitlines()
        assert done.returncode == 1 and line.startswith("mm: ") and missing in line
