"""A container engine of the tests' own, where the machine has none: Debian's packages, unpacked and never installed.

It listens on a socket of its own, so that no other test sees it, and ends with the process that holds its input open
(`tests/deploy/engine_keeper.py`). Packages and images stay in the cache: a second run downloads and builds nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from deploy.kafka_jars import cache_folder

PACKAGES = ("docker.io", "containerd", "runc", "iptables", "mmdebstrap")
PLUGINS = ("docker-compose", "docker-buildx")
NEXT_SUITE = "trixie"  # where a suite has no second version of compose yet: its plugins need nothing else of it
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DOWNLOAD_SECONDS = 300.0
START_SECONDS = 60.0
STOP_SECONDS = 90.0
ANOTHER_RUN_SECONDS = 600.0


class NoEngine(Exception):
    """Why there is no engine."""


@dataclass(frozen=True)
class Engine:
    """One that answers: the environment in which `docker` finds it, and the folder for what is worth keeping."""

    environment: Mapping[str, str]
    cache: Path

    def succeeds(self, *command: str, seconds: float = 120) -> bool:
        """Whether a command ends well in time."""
        try:
            return subprocess.run(command, env=self.environment, capture_output=True, timeout=seconds).returncode == 0
        except (subprocess.TimeoutExpired, OSError):
            return False


@contextlib.contextmanager
def running_engine() -> Iterator[Engine]:
    """The machine's engine if it answers, else one of our own for the `with` block. Raises NoEngine."""
    cache = cache_folder().parent / "engine"
    given = Engine(os.environ, cache)
    if given.succeeds("docker", "info", seconds=30):
        if not given.succeeds("docker", "compose", "version"):
            raise NoEngine("the container engine has no compose (docker compose version fails)")
        yield given
        return
    reason = impossible()
    if reason:
        raise NoEngine(f"no container engine answers, and none can be started: {reason}")
    cache.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(cache / "lock").acquire(timeout=ANOTHER_RUN_SECONDS)
    except Timeout:
        raise NoEngine(f"another run of the tests keeps the engine in {cache} busy") from None
    with lock, _own(cache) as engine:
        yield engine


def impossible() -> str | None:
    """Why this machine can have no engine of ours, None when nothing speaks against it."""
    if sys.platform != "linux" or not Path("/etc/debian_version").exists() or not shutil.which("apt-get"):
        return "only on Debian are its packages known"
    if os.geteuid() != 0:
        return "only root can start one"
    return None


@contextlib.contextmanager
def _own(cache: Path) -> Iterator[Engine]:
    packages = cache / "packages"
    if not (cache / "packages.complete").exists():
        shutil.rmtree(packages, ignore_errors=True)
        _unpack(packages)
        (cache / "packages.complete").touch()
    # Sockets have short names only: not below the cache, which may lie deep.
    folder = Path(tempfile.mkdtemp(prefix="mm-engine-"))
    environment = {**os.environ, **_environment(packages), "DOCKER_HOST": f"unix://{folder}/docker.sock"}
    keeper = subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).with_name("engine_keeper.py")), str(folder), str(cache / "data")],
        env=environment,
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the tests; the keeper cleans up behind them
    )
    engine = Engine(environment, cache)
    try:
        _wait(engine, keeper, folder)
        yield engine
    finally:
        assert keeper.stdin is not None
        keeper.stdin.close()
        keeper.wait(STOP_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(engine: Engine, keeper: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not engine.succeeds("docker", "info", seconds=10):
        if keeper.poll() is not None or time.monotonic() > deadline:
            log = folder / "engine.log"
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            raise NoEngine(f"the engine does not come up: {lines[-1][-300:] if lines else 'it says nothing'}")
        time.sleep(0.2)
    if not engine.succeeds("docker", "compose", "version"):
        raise NoEngine("the engine's compose does not run")


def _environment(packages: Path) -> dict[str, str]:
    libraries = next((packages / "usr/lib").glob("*-linux-gnu*"), packages)
    folders = (packages / "links", packages / "usr/bin", packages / "usr/sbin")
    return {
        "PATH": ":".join([*map(str, folders), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]),
        "LD_LIBRARY_PATH": str(libraries),
        "XTABLES_LIBDIR": str(libraries / "xtables"),
        "DOCKER_CONFIG": str(packages / "config"),
    }


def _unpack(packages: Path) -> None:
    """Download what the machine lacks of the engine and of compose, and unpack it into a folder. Raises NoEngine."""
    _apt("apt-get", "-qq", "update")
    with tempfile.TemporaryDirectory(prefix="mm-engine-packages-") as name:
        archives = Path(name)
        (archives / "partial").mkdir()
        here = ("-o", f"Dir::Cache::archives={archives}", "-o", "APT::Sandbox::User=root")
        _apt("apt-get", "-qq", "-y", *here, "install", "--no-install-recommends", "--download-only", *PACKAGES)
        _download_plugins(archives)
        for archive in archives.glob("*.deb"):
            _apt("dpkg", "-x", str(archive), str(packages))
    plugins = packages / "config/cli-plugins"
    plugins.parent.mkdir()
    (packages / "usr/libexec/docker/cli-plugins").rename(plugins)
    # The names that the package's installation would have made.
    (packages / "links").mkdir()
    for link in ("iptables", "ip6tables", "iptables-save"):
        if not shutil.which(link):
            (packages / "links" / link).symlink_to(packages / "usr/sbin/xtables-nft-multi")


def _download_plugins(archives: Path) -> None:
    """Compose and buildx of this suite where its compose is the second version or later, else of the next suite."""
    policy = _apt("apt-cache", "policy", "docker-compose").split("Candidate:")[-1].split()
    if policy and policy[0][:1].isdigit() and int(policy[0].split(".")[0]) >= 2:
        _apt("apt-get", "-qq", "download", *PLUGINS, folder=archives)
        return
    own = archives / "next"
    (own / "lists/partial").mkdir(parents=True)
    (own / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {NEXT_SUITE} main\n")
    options = {
        "Dir::Etc::SourceList": own / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": own / "lists",
        "Dir::Cache": own,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    arguments = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    _apt("apt-get", "-qq", *arguments, "update")
    _apt("apt-get", "-qq", *arguments, "download", *PLUGINS, folder=archives)


def mirror() -> str:
    """The first mirror from which this machine has Debian itself. Raises NoEngine."""
    asked = ("--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian")
    found = _apt("apt-get", "indextargets", *asked).split()
    if not found:
        raise NoEngine("apt knows no mirror of Debian")
    return found[0]


def _apt(*command: str, folder: Path | None = None) -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise NoEngine(f"{' '.join(command)} takes more than {DOWNLOAD_SECONDS:g} s") from None
    if done.returncode:
        raise NoEngine(f"{' '.join(command)} fails: {done.stderr.strip()[-300:]}")
    return done.stdout
