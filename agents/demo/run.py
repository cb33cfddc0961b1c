"""The whole market maker on this machine for a while: broker, agents, a synthetic market, a view of it."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from agents.configuration import Given
from agents.controls import operator
from agents.demo.figures import Figures
from agents.demo.onlookers import Onlookers
from agents.demo.view import View, summary, view
from agents.processes import fleet, kernels
from agents.processes.supervisor import GaveUp, Supervisor
from agents.strategy.settings import Settings
from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import StreamError
from deploy import kafka_jars
from deploy.broker import Broker
from deploy.ports import free_port
from schemas.records import Control
from schemas.topics import CONTROLS, DEFAULT_CONTROLS, TOPICS

SYMBOLS = 10
PARTITIONS = 4
PREROLL_SECONDS = 900.0
QUOTES_PER_SECOND = 100.0
_FOLDER_PREFIX, _LOCK_NAME = "mm-demo-", "running.lock"
_START_SECONDS = 60.0
_DRAIN_SECONDS = 10.0
_POLL_SECONDS = 0.2
_DEFAULT_DOLLARS = 50_000.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OF_OTHERS = ("KAFKA_", "MM_BOOTSTRAP", "MM_PREFIX", "MM_KAFKA_PROPERTIES", "MM_CONFIG")
"""What the environment says about another broker does not hold for the demo's own."""


class DemoFailed(StreamError):
    """The demo cannot go on."""


@dataclass(frozen=True)
class DemoSettings:
    """seconds: from when everything runs until it ends by itself, None: until Ctrl-C; keep: leave the folder.

    settings: of the strategy.
    """

    seconds: float | None = None
    keep: bool = False
    settings: Settings = field(default_factory=Settings)


def run(settings: DemoSettings) -> None:
    """Run the demo and print its summary; nothing of it stays.

    Raises StreamError or BrokerError, and KeyboardInterrupt when interrupted before anything ran.
    """
    began = time.monotonic()
    for name in [name for name in os.environ if name.startswith(_OF_OTHERS)]:
        del os.environ[name]
    with _undisturbed_end() as keep_calm, _folder(settings.keep) as folder:
        demo = _Demo(settings, folder, began)
        try:
            demo.start()
            demo.run()
        finally:
            keep_calm()
            demo.stop()


class _Demo:
    """Its parts, in the order in which they start; the broker takes longest, so the others start beside it."""

    def __init__(self, settings: DemoSettings, folder: Path, began: float) -> None:
        self._settings = settings
        self._folder = folder
        self._began = began
        self._broker = Broker(folder / "broker", port=free_port())
        self._config = KafkaConfig(self._broker.bootstrap)
        self._members = fleet.members(fleet.instance_names(1, None), None)
        self._given = self._options()
        programs = [fleet.program(member, self._given, _START_SECONDS) for member in self._members]
        self._supervisor = Supervisor(programs, folder / "logs")
        self._parts = contextlib.ExitStack()
        self._feed: _Feed | None = None

    def start(self) -> None:
        """Return when the feed sends and the agents have what they need."""
        os.environ["MM_HOME"] = str(self._folder)
        (self._folder / "logs").mkdir()
        # What is put here first ends last.
        self._parts.callback(self._broker.stop)
        compiling = self._compile() if not kernels.are_compiled() else None
        # Else they would wait for a broker that is being fetched, and find it before its topics are there.
        at_once = compiling is None and kafka_jars.are_fetched(kafka_jars.pinned_jars(), kafka_jars.cache_folder())
        if at_once:
            self._parts.enter_context(self._supervisor)
        threading.Thread(target=importlib.import_module, args=("agents.feeds.synthetic",), daemon=True).start()
        self._broker.start()
        _say(f"Kafka runs at {self._config.bootstrap} after {self._seconds:.1f} s")
        if compiling is not None:
            compiling.wait()
        if not at_once:
            self._parts.enter_context(self._supervisor)
        self._create_topics()
        self._feed = _Feed(self._config)
        self._onlookers = Onlookers(self._given, _START_SECONDS)
        fleet.note(self._config.prefix, [*self._members, self._onlookers.watchman])
        self._looking_on = self._parts.enter_context(Supervisor(self._onlookers.programs, self._folder / "logs"))

    def run(self) -> None:
        """Show what happens until the time is over or somebody interrupts, then the summary."""
        assert self._feed is not None
        with contextlib.closing(Figures(self._config, self._feed.live_from)) as figures:
            try:
                with view() as screen:
                    self._watch(figures, screen)
            except KeyboardInterrupt:
                pass
            self._drain(figures)
            print(summary(figures), flush=True)

    def stop(self) -> None:
        """End all parts."""
        if self._feed is not None:
            self._feed.stop()
        self._parts.close()

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _options(self) -> Given:
        # A file of the demo's own: what mm.toml says of another broker does not hold here.
        own = self._folder / "mm.toml"
        own.touch()
        settings = tuple(f"{name}={value}" for name, value in msgspec.structs.asdict(self._settings.settings).items())
        return Given(bootstrap=self._config.bootstrap, config=own, settings=settings)

    def _compile(self) -> subprocess.Popen[bytes]:
        _say("compiling kernels (once)")
        process = subprocess.Popen([sys.executable, "-P", "-m", "agents.processes.kernels"])
        self._parts.callback(process.kill)
        return process

    def _create_topics(self) -> None:
        from agents.feeds.generator import symbol_names

        admin = clients.admin(self._config)
        # The controls first: the agents start when all topics are there, and shall find them.
        topics.create(admin, self._config, [CONTROLS], PARTITIONS, 1)
        default = Control(max_position_dollars=_DEFAULT_DOLLARS)
        operator.write_defaults(self._config, {s: DEFAULT_CONTROLS.get(s, default) for s in symbol_names(SYMBOLS)})
        topics.create(admin, self._config, TOPICS.values(), PARTITIONS, 1)

    def _watch(self, figures: Figures, screen: View) -> None:
        must_run_by = time.monotonic() + 2 * _START_SECONDS
        ends_at: float | None = None
        first_trade_told = page_told = False
        while ends_at is None or time.monotonic() < ends_at:
            self._supervisor.wait(0)
            self._check_parts()
            self._check_onlookers()
            figures.poll(_POLL_SECONDS)
            screen.show(figures, self._note(ends_at))
            if not page_told and self._onlookers.page_is_served():
                page_told = True
                _say(f"the page is at {self._onlookers.url} after {self._seconds:.1f} s")
            if figures.first_trade is not None and not first_trade_told:
                first_trade_told = True
                _say(f"first trade after {figures.first_trade - self._began:.1f} s")
            if ends_at is None and not any(member.trouble() for member in self._members):
                _say(f"everything runs after {self._seconds:.1f} s")
                ends_at = time.monotonic() + (self._settings.seconds or math.inf)
            elif ends_at is None and time.monotonic() > must_run_by:
                raise DemoFailed(f"the agents did not get ready ({self._troubles()}); their logs stay with --keep")

    def _troubles(self) -> str:
        return "; ".join(f"{member.name}: {trouble}" for member in self._members if (trouble := member.trouble()))

    def _note(self, ends_at: float | None) -> str:
        if ends_at is None:
            return "starting"
        left = ends_at - time.monotonic()
        other = f"mm tail trades --bootstrap {self._config.bootstrap}"
        how = f"running, {max(0.0, left):.0f} s left" if left < math.inf else "running"
        return f"{how}; the page: {self._onlookers.url}; elsewhere: {other}"

    def _check_parts(self) -> None:
        if self._broker.status() is None:
            raise DemoFailed("Kafka has ended, by whatever cause; its log stays with --keep")
        if self._feed is not None and self._feed.error is not None:
            raise DemoFailed(f"the feed has ended: {self._feed.error}")

    def _check_onlookers(self) -> None:
        try:
            self._looking_on.wait(0)
        except GaveUp as error:
            _say(f"the desk goes on without one that looked on: {error}")

    def _drain(self, figures: Figures) -> None:
        """Let the end of the feed come through, so that the summary is of the whole run."""
        if self._feed is not None:
            self._feed.stop()
        deadline = time.monotonic() + _DRAIN_SECONDS
        while not figures.complete and time.monotonic() < deadline:
            figures.poll(_POLL_SECONDS)


class _Feed:
    """The synthetic market, in a thread of its own."""

    def __init__(self, config: KafkaConfig) -> None:
        self.error: Exception | None = None
        self.live_from = time.time_ns()
        self._config = config
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send the end clock and end."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            # compiled code, slow to import
            from agents.feeds.generator import WalkSettings
            from agents.feeds.synthetic import SyntheticSettings, run

            walk = WalkSettings(symbols=SYMBOLS, rate=QUOTES_PER_SECOND)
            settings = SyntheticSettings(walk=walk, preroll_seconds=PREROLL_SECONDS)
            run(self._config, settings, stop=self._stop)
        except Exception as error:
            self.error = error


@contextlib.contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    _remove_abandoned_folders()
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX))
    # Without the file nobody takes the folder for an abandoned one.
    lock = contextlib.nullcontext() if keep else FileLock(folder / _LOCK_NAME)
    try:
        with lock:
            yield folder
    finally:
        if keep:
            _say(f"data and logs are kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned_folders() -> None:
    """Remove what demos have left that were ended by SIGKILL: their locks are there, and nobody holds them."""
    for left in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*/{_LOCK_NAME}"):
        with contextlib.suppress(Timeout, OSError):
            if time.time() - left.stat().st_mtime < _START_SECONDS:  # made, and perhaps not locked yet
                continue
            with FileLock(left, timeout=0):
                shutil.rmtree(left.parent, ignore_errors=True)


@contextlib.contextmanager
def _undisturbed_end() -> Iterator[Callable[[], None]]:
    """SIGTERM and a closed terminal interrupt the block as Ctrl-C does, until the function it gets is called."""

    def keep_calm() -> None:
        for number in _SIGNALS:
            # not SIG_IGN, which a process that is being started would inherit: it would not end at SIGTERM
            signal.signal(number, lambda *_: None)

    def interrupt(*_: object) -> None:
        keep_calm()
        raise KeyboardInterrupt

    before = [signal.signal(number, interrupt) for number in _SIGNALS]
    try:
        yield keep_calm
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)


def _say(text: str) -> None:
    print(f"mm: {text}", file=sys.stderr, flush=True)
