"""mm signals, mm execution, mm portfolio, mm run."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agents import configuration as config_module
from agents.commands.options import with_settings
from agents.configuration import Configuration

if TYPE_CHECKING:
    from agents.execution import ExecutionAgent
    from agents.portfolio import PortfolioAgent
    from agents.processes.fleet import Member
    from agents.signals import SignalsAgent

log = logging.getLogger(__name__)

Instance = Annotated[str | None, typer.Option(metavar="NAME", help="Stable over restarts; else the first free number.")]
HealthPort = Annotated[int, typer.Option(min=0, max=65535, help="Of /live, /ready, /metrics; 0: any free one.")]
HealthHost = Annotated[str, typer.Option(metavar="ADDRESS", help="Address that the health pages listen on.")]
Wait = Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for broker and topics.")]


@with_settings
def signals(
    configuration: Configuration,
    instance: Instance = None,
    health_port: HealthPort = 0,
    health_host: HealthHost = "127.0.0.1",
    wait: Wait = 0,
) -> None:
    """Run one signals agent: quotes, controls -> ticks_bid_ask, preds, signals."""
    _run(configuration, _signals, instance, health_host, health_port, wait)


@with_settings
def execution(
    configuration: Configuration,
    instance: Instance = None,
    health_port: HealthPort = 0,
    health_host: HealthHost = "127.0.0.1",
    wait: Wait = 0,
) -> None:
    """Run one execution agent: signals -> executions, trades, orders, positions."""
    _run(configuration, _execution, instance, health_host, health_port, wait)


@with_settings
def portfolio(
    configuration: Configuration,
    instance: Instance = None,
    health_port: HealthPort = 0,
    health_host: HealthHost = "127.0.0.1",
    wait: Wait = 0,
) -> None:
    """Run one portfolio agent: executions -> pnl."""
    _run(configuration, _portfolio, instance, health_host, health_port, wait)


@with_settings
def run(
    configuration: Configuration,
    instances: Annotated[int, typer.Option(min=1, max=64, help="Of each role.")] = 1,
    health_port_base: Annotated[
        int | None, typer.Option(min=1, max=65000, metavar="PORT", help="First health port; else any free ones.")
    ] = None,
    wait: Wait = 0,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of this machine, where several run: instances NAME-0, NAME-1…")
    ] = None,
) -> None:
    """Run all agents against a broker until Ctrl-C; one that dies is started again."""
    from agents.processes import fleet
    from agents.stream.instance import check_name, name_of_container
    from agents.stream.waiting import wait_for_topics

    configuration.settings()
    if name is not None:
        check_name(name, "--name")
    names = fleet.instance_names(instances, name if name is not None else name_of_container())
    check_name(names[-1], "--name")  # the longest of them
    with fleet.kept(configuration.prefix):
        # What is missing is said here, once; of a broker that is not there the agents would speak for ever.
        wait_for_topics(configuration.kafka(), wait)
        _compile_kernels()  # here, or all agents would do it at the same time
        _keep_running(configuration, fleet.members(names, health_port_base), wait)


def _keep_running(configuration: Configuration, members: list[Member], wait: float) -> None:
    """The members, and a note of them, until SIGTERM or SIGINT."""
    from agents.processes import fleet
    from agents.processes.supervisor import Supervisor

    programs = [fleet.program(member, configuration.given, wait) for member in members]
    stop = _stop_event()
    for member in members:
        typer.echo(f"{member.name}: health at {member.health}", err=True)
    fleet.note(configuration.prefix, members)
    try:
        with Supervisor(programs) as supervisor:
            while not stop.is_set():
                supervisor.wait(0.2)
    finally:
        fleet.forget(configuration.prefix)


def _compile_kernels() -> None:
    """Once; in a first batch it would take longer than a transaction may, and the watchdog would end the process."""
    from agents.processes import kernels

    if not kernels.are_compiled():
        log.info("compiling the kernels, which happens once")
        kernels.compile_all()


def _stop_event() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _run(
    configuration: Configuration,
    make: Callable[[Configuration], Any],
    instance: str | None,
    health_host: str,
    health_port: int,
    wait: float,
) -> None:
    from agents.processes import lifeline

    lifeline.watch()
    # Connections come and go over the weeks of an agent's life, and its log is where one looks for that.
    logging.getLogger("librdkafka").setLevel(logging.WARNING)
    config = configuration.kafka()
    agent = make(configuration)

    from agents.processes.agent import ProcessSettings, run_agent
    from agents.stream.waiting import wait_for_topics

    _compile_kernels()
    if wait:
        wait_for_topics(config, wait)
    settings = ProcessSettings(
        state_folder=config_module.home() / "run", instance=instance, health_host=health_host, health_port=health_port
    )
    run_agent(agent, config, settings)


def _signals(configuration: Configuration) -> SignalsAgent:
    from agents.signals import SignalsAgent
    from agents.stream.errors import BadConfiguration

    try:
        return SignalsAgent(configuration.settings())
    except ValueError as error:
        raise BadConfiguration(str(error)) from error


def _execution(configuration: Configuration) -> ExecutionAgent:
    from agents.execution import ExecutionAgent

    return ExecutionAgent(configuration.settings())


def _portfolio(configuration: Configuration) -> PortfolioAgent:
    from agents.portfolio import PortfolioAgent

    configuration.settings()
    return PortfolioAgent()
