"""A container engine of the tests' own, where the machine has none: Debian's packages, unpacked and never installed.

It listens on a socket of its own, so that no other test sees it, and ends with the process that holds its input open
(`tests/deploy/engine_keeper.py`). Packages and images stay in the cache: a second run downloads and builds nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.kafka_jars import cache_folder
from tests.deploy.engine_keeper import EMPTY

PACKAGES = ("docker.io", "containerd", "runc", "iptables", "mmdebstrap")
PLUGINS = ("docker-compose", "docker-buildx")
NEXT_SUITE = "trixie"  # where a suite has no second version of compose yet: its plugins need nothing else of it
LOCK = Path("/run/market-maker-tests-engine.lock")  # one on a machine: it has one bridge and one set of rules
CACHE = cache_folder().parent / "engine"
FOLDER = f"{tempfile.gettempdir()}/mm-engine-"  # and more letters
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DOWNLOAD_SECONDS = 300.0
START_SECONDS = 60.0
STOP_SECONDS = 150.0
ANOTHER_RUN_SECONDS = 1200.0
MOST_KILOBYTES = 6_000_000  # of images and of what builds keep: some runs' worth, then all begins anew


class NoEngine(Exception):
    """Why there is no engine here."""


class NotPrepared(NoEngine):
    """Why there could be one and is none: packages or images did not come, or it does not start."""


@dataclass(frozen=True)
class Engine:
    """One that answers: the environment in which `docker` finds it; whether it is our own, or else the machine's."""

    environment: Mapping[str, str]
    ours: bool

    def succeeds(self, *command: str, seconds: float = 120) -> bool:
        """Whether a command ends well in time."""
        try:
            return subprocess.run(command, env=self.environment, capture_output=True, timeout=seconds).returncode == 0
        except (subprocess.TimeoutExpired, OSError):
            return False


@contextlib.contextmanager
def running_engine() -> Iterator[Engine]:
    """The machine's engine if it answers, else one of our own for the `with` block. Raises NoEngine."""
    given = Engine(os.environ, ours=False)
    if given.succeeds("docker", "info", seconds=30):
        if not given.succeeds("docker", "compose", "version"):
            raise NoEngine("the container engine has no compose (docker compose version fails)")
        yield given
        return
    reason = impossible()
    if reason:
        raise NoEngine(f"no container engine answers, and none can be started: {reason}")
    with alone() as lock, _own(lock) as engine:
        yield engine


@contextlib.contextmanager
def alone() -> Iterator[int]:
    """No other engine of tests is here for the `with` block; the descriptor that sees to it. Raises NoEngine."""
    deadline = time.monotonic() + ANOTHER_RUN_SECONDS
    with LOCK.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise NoEngine(f"another run of the tests holds {LOCK}") from None
                time.sleep(0.5)
        yield file.fileno()


def impossible() -> str | None:
    """Why this machine can have no engine of ours, None when nothing speaks against it."""
    if sys.platform != "linux" or not Path("/etc/debian_version").exists() or not shutil.which("apt-get"):
        return "only on Debian are its packages known"
    if os.geteuid() != 0:
        return "only root can start one"
    return None


@contextlib.contextmanager
def _own(lock: int) -> Iterator[Engine]:
    packages = unpacked()
    _make_room()
    # Sockets have short names only: not below the cache, which may lie deep.
    folder = Path(tempfile.mkdtemp(prefix=Path(FOLDER).name, dir=Path(FOLDER).parent))
    environment = {**os.environ, **_environment(packages), "DOCKER_HOST": f"unix://{folder}/docker.sock"}
    before = traces()
    keeper = subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).with_name("engine_keeper.py")), str(folder), str(CACHE / "data")],
        env=environment,
        stdin=subprocess.PIPE,
        pass_fds=[lock],  # until it has cleaned up nobody else begins, also where this process is killed
        start_new_session=True,  # Ctrl-C is for the tests; the keeper cleans up behind them
    )
    engine = Engine(environment, ours=True)
    try:
        _wait(engine, keeper, folder)
        engine.succeeds("sh", "-c", EMPTY)  # a keeper that was killed has left what starts again with the engine
        yield engine
    except BaseException:
        (CACHE / "doubtful").touch()  # the next run begins anew: what failed may be what was kept
        raise
    finally:
        assert keeper.stdin is not None
        keeper.stdin.close()
        keeper.wait(STOP_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)
        left = traces() - before
        assert not left, f"the engine has left {left}"


def traces() -> set[str]:
    """What engines make of a machine: processes, mounts, interfaces, rules, the policy and switch of forwarding."""
    environment = {**os.environ, **_environment(CACHE / "packages")}
    found = (
        _processes()
        | _mounts()
        | {path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith(("docker", "br-", "veth"))}
    )
    for table in ("filter", "nat"):
        command = ["iptables", "-w", "-t", table, "-S"]
        rules = subprocess.run(command, env=environment, capture_output=True, text=True).stdout.splitlines()
        made = ("DOCKER", "docker0", " br-", "-P FORWARD")
        found |= {f"{table}: {rule}" for rule in rules if any(word in rule for word in made)}
    return found | {f"ip_forward {Path('/proc/sys/net/ipv4/ip_forward').read_text().strip()}"}


def _mounts() -> set[str]:
    points = {line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()}
    return {point for point in points if point.startswith((f"{CACHE}/", FOLDER))}


def _processes() -> set[str]:
    """Those that name the folder of an engine of ours."""
    found = set()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = process.read_text(errors="replace").replace("\0", " ")
            if FOLDER in command:
                found.add(command)
    return found


def _make_room() -> None:
    """Throw away what a run that failed, or many runs, have left of images."""
    data, doubtful = CACHE / "data", CACHE / "doubtful"
    if not data.exists():
        return
    size = subprocess.run(["du", "-sk", str(data)], capture_output=True, text=True).stdout.split()
    if doubtful.exists() or not size or int(size[0]) > MOST_KILOBYTES:
        shutil.rmtree(data)
        doubtful.unlink(missing_ok=True)


def _wait(engine: Engine, keeper: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not engine.succeeds("docker", "info", seconds=10):
        if keeper.poll() is not None or time.monotonic() > deadline:
            log = folder / "engine.log"
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            raise NotPrepared(f"the engine does not come up: {lines[-1][-300:] if lines else 'it says nothing'}")
        time.sleep(0.2)
    if not engine.succeeds("docker", "compose", "version"):
        raise NotPrepared("the engine's compose does not run")


def _environment(packages: Path) -> dict[str, str]:
    folders = (packages / "links", packages / "usr/bin", packages / "usr/sbin")
    environment = {
        "PATH": ":".join([*map(str, folders), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]),
        "DOCKER_CONFIG": str(packages / "config"),
    }
    for libraries in (packages / "usr/lib").glob("*-linux-gnu*"):
        environment["LD_LIBRARY_PATH"] = str(libraries)
        if (libraries / "xtables").exists():  # else the machine has an iptables of its own, with its own extensions
            environment["XTABLES_LIBDIR"] = str(libraries / "xtables")
    return environment


def unpacked() -> Path:
    """The folder with Debian's packages, once they are whole. Raises NotPrepared."""
    packages, unfinished = CACHE / "packages", CACHE / "packages.unfinished"
    if not packages.exists():
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        _unpack(unfinished)
        unfinished.rename(packages)
    return packages


def _unpack(packages: Path) -> None:
    """Download what the machine lacks of the engine and of compose, and unpack it into a folder. Raises NotPrepared."""
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
            (packages / "links" / link).symlink_to("../usr/sbin/xtables-nft-multi")


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
    """The first mirror from which this machine has Debian itself. Raises NotPrepared."""
    asked = ("--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian")
    found = _apt("apt-get", "indextargets", *asked).split()
    if not found:
        raise NotPrepared("apt knows no mirror of Debian")
    return found[0]


def _apt(*command: str, folder: Path | None = None) -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise NotPrepared(f"{' '.join(command)} takes more than {DOWNLOAD_SECONDS:g} s") from None
    if done.returncode:
        raise NotPrepared(f"{' '.join(command)} fails: {done.stderr.strip()[-300:]}")
    return done.stdout
