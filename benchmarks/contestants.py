"""Processes that read the same quotes: the signals agent, and bare consumption as its limit."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from benchmarks.measure import Cost, watch
from deploy.broker import free_port
from schemas.topics import QUOTES


def signals(config: KafkaConfig, partitions: int, quotes: int, settings: Sequence[str] = ()) -> Cost:
    """The signals agent, exactly-once, from its first quote to its last."""
    port = free_port()
    options = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "agents.cli", "signals", "--health-port", str(port), *options]
    ends = topics.ends(clients.admin(config), config.name(QUOTES.name), range(partitions))
    with _running(command, config) as pid:
        return watch(pid, lambda: _metric(port, "mm_input_records_total"), sum(ends.values()), quotes)


def bare(kind: str, config: KafkaConfig, partitions: int, quotes: int) -> Cost:
    """Consumption with nothing decoded. kind: "consume" or "librdkafka"."""
    ends = topics.ends(clients.admin(config), config.name(QUOTES.name), range(partitions))
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder) / "taken"
        command = [sys.executable, "-m", "benchmarks.floor", kind, str(partitions), str(progress)]
        with _running(command, config) as pid:
            return watch(pid, lambda: _number(progress), sum(ends.values()), quotes)


@contextlib.contextmanager
def _running(command: Sequence[str], config: KafkaConfig) -> Iterator[int]:
    environment = os.environ | {"MM_BOOTSTRAP": config.bootstrap, "MM_PREFIX": config.prefix}
    with tempfile.TemporaryDirectory() as home, (Path(home) / "log").open("w+b") as log:
        process = subprocess.Popen(command, env=environment | {"MM_HOME": home}, stdout=log, stderr=log)
        try:
            yield process.pid
            if process.poll() not in (None, 0):
                log.seek(0)
                raise RuntimeError(f"{command[2:4]} ended: {log.read().decode()[-500:]}")
        finally:
            process.terminate()
            process.wait(30)


def _metric(port: int, name: str) -> float:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))


def _number(file: Path) -> float:
    try:
        return float(file.read_text() or 0)
    except OSError:
        return 0.0
