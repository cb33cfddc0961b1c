"""From the start of an agent's process to its being ready, and what importing takes of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

from agents.processes import kernels
from agents.processes.fleet import ROLES
from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from benchmarks.processes import Agent
from benchmarks.report import Table, row
from benchmarks.setting import Setting
from schemas.topics import TOPICS

_IMPORTS = "import agents.cli, agents.processes.agent, agents.processes.kernels, agents.stream.waiting, agents.{role}"


def start(setting: Setting) -> Iterator[Table]:
    """Each role on empty topics, kernels compiled before."""
    if not kernels.are_compiled():
        kernels.compile_all()
    config = setting.config("start")
    topics.create(clients.admin(config), config, TOPICS.values(), 4, 1)
    for role in ROLES:
        _once(config, role)  # a new broker has its own topics to make first
    conditions = setting.conditions("empty topics, 4 partitions", "kernels compiled ahead", f"{setting.repeats} starts")
    rows = [row(f"{role} agent", [_once(config, role) for _ in range(setting.repeats)]) for role in ROLES]
    yield Table("From start to ready", conditions, rows)


def _once(config: KafkaConfig, role: str) -> dict[str, float]:
    began, before = time.monotonic(), os.times()
    subprocess.run([sys.executable, "-P", "-c", _IMPORTS.format(role=role)], check=True)
    seconds, after = time.monotonic() - began, os.times()
    imports = after.children_user + after.children_system - before.children_user - before.children_system
    agent = Agent(config, role)
    began = time.monotonic()
    with agent.running() as process:
        agent.wait_until_ready(process)
        ready = time.monotonic() - began
        return {
            "s to ready": ready,
            "CPU s to ready": process.cpu_seconds(),
            "s of imports alone": seconds,
            "CPU s of imports alone": imports,
        }
