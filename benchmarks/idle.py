"""What an agent uses while nothing comes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

from agents.processes.fleet import ROLES
from agents.stream import clients, topics
from benchmarks.processes import Agent
from benchmarks.report import Table, row
from benchmarks.setting import Setting
from schemas.topics import TOPICS

_SETTLE_SECONDS = 3.0


def idle(setting: Setting) -> Iterator[Table]:
    """All three at once, partitions assigned, empty topics."""
    config = setting.config("idle")
    topics.create(clients.admin(config), config, TOPICS.values(), 4, 1)
    conditions = setting.conditions(f"nothing comes for {setting.seconds:.0f} s", "4 partitions each")
    with ExitStack() as stack:
        agents = [Agent(config, role) for role in ROLES]
        processes = [stack.enter_context(agent.running()) for agent in agents]
        for agent, process in zip(agents, processes, strict=True):
            agent.wait_until_ready(process)
        time.sleep(_SETTLE_SECONDS)
        began, before = time.monotonic(), [process.cpu_seconds() for process in processes]
        time.sleep(setting.seconds)
        seconds = time.monotonic() - began
        used = [process.cpu_seconds() - cpu for process, cpu in zip(processes, before, strict=True)]
        rows = [
            row(f"{agent.role} agent", [{"% of a core": 100 * cpu / seconds, "MB": process.resident_bytes() / 2**20}])
            for agent, process, cpu in zip(agents, processes, used, strict=True)
        ]
    yield Table("Agents without work", conditions, rows)
