"""Surveillance as a process: its name, its tables on the broker, signals, a clean end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from agents.stream import clients, topics
from agents.stream.config import KafkaConfig
from agents.stream.errors import StreamError
from agents.stream.instance import claim
from agents.surveillance import committed
from agents.surveillance.desk import Desk
from agents.surveillance.pages import Pages
from agents.surveillance.settings import SurveillanceSettings
from agents.surveillance.sources import ROLE, SOURCES
from schemas.topics import ALERTS

log = logging.getLogger(__name__)
STOP_SECONDS = 3.5
_BROKERS_DEFAULT = -1


@dataclass(frozen=True)
class Place:
    """Where a process runs: as for the other agents, whose settings would bring the whole runner with them.

    pages_port 0 takes any free one; state_folder keeps the instances' locks.
    """

    state_folder: Path
    instance: str | None = None
    pages_host: str = "127.0.0.1"
    pages_port: int = 0


def run_surveillance(config: KafkaConfig, settings: SurveillanceSettings, place: Place) -> None:
    """Watch the desk until SIGTERM or SIGINT. Raises StreamError when it cannot start or go on."""
    _quieten()
    instance = claim(config.name(ROLE), place.instance, place.state_folder)
    try:
        partitions = prepare_topics(config)
        asyncio.run(_serve(config, settings, place, instance.name, partitions))
    finally:
        instance.release()


def _quieten() -> None:
    for noisy in ("faust", "mode", "aiokafka", committed.__name__):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # They tell of every batch that takes more than a second, which catching up does.
    for noisier in ("mode.timers", "faust.transport.producer"):
        logging.getLogger(noisier).setLevel(logging.ERROR)


def prepare_topics(config: KafkaConfig) -> int:
    """Check the topics and create the tables' changelogs; return the number of partitions. Raises StreamError."""
    admin = clients.admin(config)
    partitions = topics.check(admin, config, [ALERTS, *(source.topic for source in SOURCES)])
    tables = [source.changelog for source in SOURCES]
    topics.create(admin, config, tables, partitions, _BROKERS_DEFAULT)
    topics.check(admin, config, [ALERTS, *tables])
    return partitions


async def _serve(
    config: KafkaConfig, settings: SurveillanceSettings, place: Place, instance: str, partitions: int
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    pages = Pages()
    try:
        port = await pages.open(place.pages_host, place.pages_port)
        url = f"http://{place.pages_host}:{port}"
        desk = Desk(config, settings, instance=instance, partitions=partitions, state_folder=place.state_folder)
        pages.show(desk)
        log.info("%s-%s: pages at %s", ROLE, instance, url)
        failure: StreamError | None = None
        try:
            await desk.run(stop)
        except StreamError as error:
            failure = error
        await _close(desk, failure)
        if failure is not None:
            raise failure
    finally:
        await pages.close()


async def _close(desk: Desk, failure: StreamError | None) -> None:
    try:
        await asyncio.wait_for(desk.close(), STOP_SECONDS)
    except TimeoutError:
        # Nothing is lost: what was not committed is taken again, and known by its offset.
        log.warning("Faust has not stopped within %.0f s: ending the process", STOP_SECONDS)
        if failure is not None:
            log.error("%s", failure)
        logging.shutdown()
        os._exit(0 if failure is None else failure.exit_status)
