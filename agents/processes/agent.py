"""One agent as a process: instance name, health pages, watchdog, signals, exit status."""

from __future__ import annotations

import faulthandler
import gc
import logging
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from agents.processes import garbage
from agents.stream.agent import Agent
from agents.stream.config import KafkaConfig
from agents.stream.health import HealthServer, Watchdog
from agents.stream.instance import claim
from agents.stream.runner import Runner, RunnerSettings

log = logging.getLogger(__name__)
_STUCK_SECONDS = 15.0
_STOP_SECONDS = 12.0  # less than the 15 s after which Kubernetes would kill it without a word


@dataclass(frozen=True)
class ProcessSettings:
    """How a process shows itself. health_port 0 takes any free one; state_folder keeps the instances' locks."""

    state_folder: Path
    instance: str | None = None
    health_host: str = "127.0.0.1"
    health_port: int = 0


def run_agent(agent: Agent, config: KafkaConfig, settings: ProcessSettings) -> None:
    """Run an agent until SIGTERM or SIGINT. Raises StreamError when it cannot start or go on."""
    instance = claim(config.name(agent.role), settings.instance, settings.state_folder)
    try:
        runner = Runner(agent, config, instance.name, RunnerSettings())

        def stop(*_: object) -> None:
            runner.stop()
            # A client library that hangs with the interpreter's lock in its hand stops every thread but this timer.
            faulthandler.dump_traceback_later(_STOP_SECONDS, exit=True)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        health = HealthServer(
            settings.health_host, settings.health_port, runner.live, runner.ready, runner.metrics.registry
        )
        watchdog = Watchdog(runner.seconds_in_transaction, _STUCK_SECONDS)
        log.info("%s-%s: health at http://%s:%d", agent.role, instance.name, settings.health_host, health.port)
        began = time.monotonic()
        gc.collect()
        garbage.leave_in_peace()
        try:
            runner.run()
        finally:
            watchdog.close()
            health.close()
            log.info("%s-%s ran %.1f s", agent.role, instance.name, time.monotonic() - began)
    finally:
        instance.release()
