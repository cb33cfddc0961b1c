"""Who reads the quotes: bare consumers as limits, the signals agent, and peers that do its work in other engines."""

from __future__ import annotations

import secrets
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from agents.stream import clients, topics
from benchmarks import audit
from benchmarks.committed import committed, written
from benchmarks.java_programs import JavaPrograms
from benchmarks.measure import Cost, watch
from benchmarks.processes import Agent, running
from benchmarks.quotes import Written, forget_results
from schemas.topics import DAY_MS, SIGNALS, Topic, Writer, kept_for

_PROGRAMS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Contestant:
    """A name for the table, and how to run it once over a load."""

    name: str
    run: Callable[[Written], Cost]


# -- limits ------------------------------------------------------------------------------------------------------


def bare(kind: str) -> Contestant:
    """Consumption with nothing decoded. kind: "consume" or "librdkafka"."""
    what = {"consume": "consume(10000) of confluent-kafka", "librdkafka": "librdkafka's batch call in C"}[kind]

    def run(load: Written) -> Cost:
        def command(progress: Path) -> Sequence[str]:
            where = (load.config.bootstrap, load.topic, str(load.load.partitions), str(progress))
            return [sys.executable, "-m", "benchmarks.floor", kind, *where]

        return _drain(kind, command, load)

    return Contestant(f"limit: {what}, nothing decoded", run)


def bare_java(programs: JavaPrograms) -> Contestant:
    """Consumption by Java's client, nothing decoded."""

    def run(load: Written) -> Cost:
        def command(progress: Path) -> Sequence[str]:
            where = (load.config.bootstrap, load.topic, str(load.load.partitions), str(progress))
            return programs.command("BareConsumer", *where)

        return _drain("BareConsumer", command, load)

    return Contestant("limit: Java's consumer, nothing decoded", run)


def _drain(name: str, command: Callable[[Path], Sequence[str]], load: Written) -> Cost:
    with tempfile.TemporaryDirectory(prefix="mm-bench-") as folder:
        progress = Path(folder) / "taken"
        with running(name, command(progress), {}) as process:
            return watch([process], written(progress), load.records, load.quotes)


# -- the product -------------------------------------------------------------------------------------------------


def signals_agent(name: str, *settings: str, instances: int = 1) -> Contestant:
    """The signals agent, exactly-once; each run begins without state."""

    def run(load: Written) -> Cost:
        forget_results(load)
        config = load.config
        agents = [Agent(config, "signals", settings, str(number)) for number in range(instances)]
        with ExitStack() as stack:
            processes = [stack.enter_context(agent.running()) for agent in agents]
            return watch(processes, committed(config, config.name("signals"), load.topic), load.records, load.quotes)

    return Contestant(name, run)


ORIGINALS_RULES = ("marks=off", "max_quote_age_seconds=none", "gap_taus=none")
"""What the peers do: no marks, and every quote counts however old it is."""


# -- peers -------------------------------------------------------------------------------------------------------


@dataclass
class Auditor:
    """Our signals of a load, taken once, for comparison with a peer's."""

    _ours: dict[str, audit.Decisions] = field(default_factory=dict)

    def note(self, load: Written) -> None:
        """Take the signals that our agent has just made of a load."""
        if load.topic not in self._ours:
            self._ours[load.topic] = audit.decisions(load.config, SIGNALS.name)

    def check(self, name: str, load: Written, topic: str) -> None:
        """Compare a peer's topic of signals with ours. Raises AuditFailed."""
        audit.compare(name, audit.decisions(load.config, topic), self._ours[load.topic], load.last_ts)


def audited(agent: Contestant, auditor: Auditor) -> Contestant:
    """The signals agent, whose signals are kept as what the peers must agree with."""

    def run(load: Written) -> Cost:
        cost = agent.run(load)
        auditor.note(load)
        return cost

    return Contestant(agent.name, run)


STREAMS_SETTINGS = ("100", "5", "10", "60", "1")
"""Commit and linger in ms, seconds between decisions and of warm-up, band in deviations."""


def kafka_streams(programs: JavaPrograms, threads: int, auditor: Auditor) -> Contestant:
    """Kafka Streams, exactly_once_v2, state in memory."""
    name = f"Kafka Streams 4.3.1, exactly-once, in memory, {threads} thread{'s' if threads > 1 else ''}"

    def command(load: Written, signals: str, group: str, folder: str) -> Sequence[str]:
        where = (load.config.bootstrap, load.topic, signals, group, folder, str(threads))
        return programs.command("StreamsPeer", *where, *STREAMS_SETTINGS)

    return _peer(name, "streams", command, auditor)


def quix_streams(python: str, auditor: Auditor) -> Contestant:
    """Quix Streams, exactly-once, its own store."""

    def command(load: Written, signals: str, group: str, folder: str) -> Sequence[str]:
        program = str(_PROGRAMS / "quix_program.py")
        return [python, program, load.config.bootstrap, load.topic, signals, group, folder]

    return _peer("Quix Streams 3.28.0, exactly-once", "quix", command, auditor)


def faust(auditor: Auditor) -> Contestant:
    """Faust with the packages that surveillance has anyway, at least once, state in memory."""

    def command(load: Written, signals: str, group: str, folder: str) -> Sequence[str]:
        program = str(_PROGRAMS / "faust_program.py")
        where = (load.config.bootstrap, load.topic, signals, group, folder, str(load.load.partitions))
        return [sys.executable, program, *where]

    return _peer("Faust 0.15.3, at least once, in memory", "faust", command, auditor)


_Command = Callable[[Written, str, str, str], Sequence[str]]


def _peer(name: str, kind: str, command: _Command, auditor: Auditor) -> Contestant:
    def run(load: Written) -> Cost:
        config = load.config
        signals = Topic(f"{kind}-{secrets.token_hex(3)}", None, "symbol", Writer.EVERY_AGENT, kept_for(DAY_MS))
        group = config.name(signals.name)
        admin = clients.admin(config)
        topics.create(admin, config, [signals], load.load.partitions, 1)
        try:
            with (
                tempfile.TemporaryDirectory(prefix="mm-bench-", ignore_cleanup_errors=True) as folder,
                running(name, command(load, group, group, folder), {}) as process,
            ):
                progress = committed(config, group, load.topic)
                cost = watch([process], progress, load.records, load.quotes)
            auditor.check(name, load, signals.name)
        finally:
            # with the changelogs that the peer has made for itself, which carry its group's name
            topics.delete(admin, [topic for topic in topics.partition_counts(admin, config) if group in topic])
        return cost

    return Contestant(name, run)
