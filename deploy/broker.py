"""The embedded broker: Apache Kafka itself, one node, from its own jars; no Docker, no root.

`Broker` is for a `with` block and ends with its process; `up`, `down` and `status` are for one that stays.
Both keep everything in one folder, the home: data, configuration, log, and the state file that names the
process.
"""

import base64
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import psutil
from filelock import FileLock

from deploy.java import find_java
from deploy.kafka_jars import JarError, cache_folder, fetch, pinned_jars
from deploy.ports import HOST, free_port

DEFAULT_HEAP = "1g"
START_SECONDS = 90.0
STOP_SECONDS = 20.0
LEAST_FREE_BYTES = 200 * 1024 * 1024
STARTED = "Kafka Server started"
START_ATTEMPTS = 3
PORT_IN_USE = "Address already in use"

SINGLE_NODE = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    # the transactions of a process that never returns would hold readers back for 10 s more
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
    # a broker that was killed may come back only when its old session is over; at 3 s a machine under load fenced a
    # living one
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "auto.create.topics.enable": "false",
    "log.cleaner.backoff.ms": "1000",
    "log.cleaner.dedupe.buffer.size": str(32 * 1024 * 1024),
}

LOGGING = """\
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c{1}: %m%n
logger.started.name = kafka.server.KafkaRaftServer
logger.started.level = info
"""

# Waits for the end of its input, which comes when the process that holds the other end has died by whatever
# cause, then ends the broker. Linux' death signal would be simpler, but it follows the thread that started
# the broker, not the process.
WATCHER = """\
read -r _
kill "$1" 2>/dev/null
seconds=0
while [ $seconds -lt 20 ] && kill -0 "$1" 2>/dev/null; do sleep 1; seconds=$((seconds + 1)); done
kill -9 "$1" 2>/dev/null
"""


class BrokerError(Exception):
    """The embedded broker cannot do what was asked; the message says what to do."""


@dataclass(frozen=True)
class Status:
    """A process, which may still be starting: id, port on the loopback, path of its log, start in epoch seconds."""

    pid: int
    port: int
    log: str
    started: float

    @property
    def bootstrap(self) -> str:
        """The address for clients, as `host:port`."""
        return f"{HOST}:{self.port}"


class Broker:
    """A broker for a `with` block, or from `start` to `stop`; it never outlives this process.

    `home` keeps the data over restarts; `port` is by default that of the last start in that folder, or any free one;
    `properties` override the broker's own (`listeners`, say, for TLS); `heap` is Java's -Xmx.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int | None = None,
        properties: Mapping[str, str] | None = None,
        heap: str = DEFAULT_HEAP,
    ) -> None:
        self._home = _Home(home)
        self._port = port
        self._properties = dict(properties or {})
        self._heap = heap
        self._child: _Child | None = None

    @property
    def bootstrap(self) -> str:
        """The address for clients, as `host:port`; raises BrokerError before the first start."""
        if self._port is None:
            raise BrokerError("the broker has no address yet: call start() first")
        return f"{HOST}:{self._port}"

    def start(self) -> None:
        """Start the broker and return when it serves; raises BrokerError."""
        with self._home.locked():
            running = self._home.status()
            if running:
                raise BrokerError(
                    f"a broker already runs in {self._home.path} (process {running.pid}, "
                    f"port {running.port}): stop it or take another folder"
                )
            self.stop()
            self._child, status = _launch(self._home, self._port, self._properties, self._heap, leashed=True)
        self._port = status.port

    def stop(self) -> None:
        """Stop the broker; nothing happens when it does not run."""
        if self._child is None:
            return
        self._child.end()
        self._child = None
        self._home.state_file.unlink(missing_ok=True)

    def status(self) -> Status | None:
        """What runs, or None."""
        return self._home.status()

    def __enter__(self) -> "Broker":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def up(
    home: Path,
    *,
    port: int | None = None,
    properties: Mapping[str, str] | None = None,
    heap: str = DEFAULT_HEAP,
) -> Status:
    """Make sure that a broker runs in `home` and stays when this process ends; arguments as for `Broker`.

    A broker that runs already is left as it is. Should this process be killed while it waits for the broker to serve,
    `status` and `down` find it. Raises BrokerError.
    """
    place = _Home(home)
    with place.locked():
        running = place.status()
        if running:
            # It may have been left at its start, by one who was ended while he waited. After so long it serves or
            # never will, whatever has become of its log.
            if time.time() < running.started + START_SECONDS:
                _wait_until_ready(place, running.port, lambda: place.status() is not None)
            return running
        child, status = _launch(place, port, dict(properties or {}), heap, leashed=False)
        # it outlives this process on purpose: no warning that nobody waited for it
        child.process.returncode = 0
        return status


def down(home: Path) -> bool:
    """Stop the broker of `home`; whether one ran. Raises BrokerError."""
    place = _Home(home)
    with place.locked():
        running = place.status()
        if running:
            with contextlib.suppress(psutil.NoSuchProcess):
                _end(psutil.Process(running.pid))
        place.state_file.unlink(missing_ok=True)
    return running is not None


def status(home: Path) -> Status | None:
    """The broker that runs in `home`, or None."""
    return _Home(home).status()


class _Home:
    """The folder of one broker and what lies where in it."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self.data = self.path / "data"
        self.config = self.path / "server.properties"
        self.logging = self.path / "log4j2.properties"
        self.log = self.path / "broker.log"
        self.scratch = self.path / "tmp"
        self.state_file = self.path / "broker.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process starts or stops this home's broker at a time."""
        if "," in str(self.path):
            raise BrokerError(f"{self.path}: Kafka takes no folder with a comma in its path; take another")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path / ".lock"):
                yield
        except OSError as error:
            raise BrokerError(f"cannot use {self.path}: {error}; make it writable or make room") from error

    def status(self) -> Status | None:
        """The broker that the state file names, when it is alive."""
        try:
            found = Status(**json.loads(self.state_file.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return found if self._is_ours(found.pid) else None

    def _is_ours(self, pid: int) -> bool:
        # the path of our configuration on its command line, so that a number that the system has given to
        # another process is never taken for the broker; unlike start times this holds when the clock is set
        try:
            return str(self.config) in psutil.Process(pid).cmdline()
        except psutil.Error:
            return False

    def port_before(self) -> int | None:
        """The port that the broker had when it last ran in this folder, where clients still look for it; if free.

        None in a copy of the folder: clients of the original must not find themselves there.
        """
        with contextlib.suppress(FileNotFoundError):
            text = self.config.read_text()
            found = re.search(rf"^listeners=\w+://{re.escape(HOST)}:(\d+),", text, re.MULTILINE)
            if found and _as_properties({"log.dirs": str(self.data)}) in text:
                port = int(found[1])
                with contextlib.suppress(BrokerError):
                    _check_port(port)
                    return port
        return None

    def record(self, status: Status) -> None:
        """Write the state file."""
        fresh = self.state_file.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(status)))
        fresh.replace(self.state_file)

    def last_words(self) -> str:
        """The end of the log on one line."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return " | ".join(line.strip() for line in lines if not line.startswith("\t"))[-600:] or "nothing"


class _Child:
    """The broker's process, and for a leashed one the watcher that ends it when this process dies."""

    def __init__(self, process: "subprocess.Popen[bytes]", *, leashed: bool) -> None:
        self.process = process
        self._watcher = _watch(process.pid) if leashed else None

    def is_alive(self) -> bool:
        """Whether the broker's process runs."""
        return self.process.poll() is None

    def end(self) -> None:
        """End both; returns when they are gone."""
        _end(self.process)
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.communicate()


def _launch(
    home: _Home, port: int | None, properties: Mapping[str, str], heap: str, *, leashed: bool
) -> tuple[_Child, Status]:
    """Start the process and wait until it serves; a port found free may be lost to another, so try thrice."""
    _check_room(home)
    java = _java_command(home, heap)
    attempt = 1
    while True:
        chosen = port or (home.port_before() if attempt == 1 else None) or free_port()
        _check_port(chosen)
        _write_config(home, chosen, properties)
        if not home.data.exists():
            _format(home, java)
        child = _Child(_spawn(home, java), leashed=leashed)
        try:
            status = Status(child.process.pid, chosen, str(home.log), time.time())
            home.record(status)
            _wait_until_ready(home, chosen, child.is_alive)
        except BaseException as error:
            child.end()
            home.state_file.unlink(missing_ok=True)
            lost_its_port = PORT_IN_USE in home.log.read_text(errors="replace")
            if isinstance(error, BrokerError) and attempt < START_ATTEMPTS and lost_its_port:
                attempt += 1
                continue
            raise
        return child, status


def _check_room(home: _Home) -> None:
    free = shutil.disk_usage(home.path).free
    if free < LEAST_FREE_BYTES:
        raise BrokerError(
            f"only {free / 1e6:.0f} MB are free in {home.path} and the broker needs "
            f"{LEAST_FREE_BYTES / 1e6:.0f} MB: make room or take another folder"
        )


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise BrokerError(
                f"port {port} on {HOST} cannot be had ({error.strerror}): stop what uses it or choose another"
            ) from error


def _java_command(home: _Home, heap: str) -> list[str]:
    try:
        jars = fetch(pinned_jars(), cache_folder())
    except JarError as error:
        raise BrokerError(str(error)) from error
    home.scratch.mkdir(exist_ok=True)
    home.logging.write_text(LOGGING)
    return [
        find_java(),
        *("-Xms128m", f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData"),
        *(f"-XX:ErrorFile={home.path / 'java-error.log'}", f"-Djava.io.tmpdir={home.scratch}"),
        *("-Djava.awt.headless=true", f"-Dlog4j2.configurationFile={home.logging}"),
        *("-cp", os.pathsep.join(str(jar) for jar in jars)),
    ]


def _write_config(home: _Home, port: int, properties: Mapping[str, str]) -> None:
    controller = next(free for free in iter(free_port, None) if free != port)
    settings = {
        **SINGLE_NODE,
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}",
        "log.dirs": str(home.data),
        **properties,
    }
    home.config.write_text(_as_properties(settings))


def _as_properties(settings: Mapping[str, str]) -> str:
    """Lines in ASCII, as Java reads such files as ISO 8859-1; it knows the escapes of JSON."""
    return "".join(f"{json.dumps(f'{name}={value}')[1:-1]}\n" for name, value in settings.items())


def _format(home: _Home, java: list[str]) -> None:
    """Make the data folder; it gets its name when it is whole, so an interrupted format is done again."""
    fresh = home.path / "data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    config = home.path / "format.properties"
    given, made = (_as_properties({"log.dirs": str(folder)}) for folder in (home.data, fresh))
    config.write_text(home.config.read_text().replace(given, made))
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # with the equals sign, as an id may begin with a dash
    tool = ("kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", f"--config={config}")
    with home.log.open("wb") as log:
        result = subprocess.run(
            [*java, *tool], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(), check=False
        )
    if result.returncode:
        raise BrokerError(f"the broker's data folder could not be made; {home.log} says: {home.last_words()}")
    config.unlink()
    fresh.rename(home.data)


def _spawn(home: _Home, java: list[str]) -> "subprocess.Popen[bytes]":
    with home.log.open("wb") as log:
        return subprocess.Popen(
            [*java, "kafka.Kafka", str(home.config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home.path,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for this process, which may still want to commit
        )


def _environment() -> dict[str, str]:
    """Java names files in the locale's letters, and those of C are too few; it tells errors in its language."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def _watch(pid: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["/bin/sh", "-c", WATCHER, "sh", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _wait_until_ready(home: _Home, port: int, is_alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not (STARTED in home.log.read_text(errors="replace") and _accepts(port)):
        if not is_alive():
            raise BrokerError(f"the broker ended at its start; {home.log} says: {home.last_words()}")
        if time.monotonic() > deadline:
            raise BrokerError(
                f"the broker does not serve after {START_SECONDS:.0f} s; {home.log} says: {home.last_words()}"
            )
        time.sleep(0.05)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _end(process: "subprocess.Popen[bytes] | psutil.Process") -> None:
    """SIGTERM, then SIGKILL after a while; returns when the process is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
