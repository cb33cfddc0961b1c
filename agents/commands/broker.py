"""mm broker, mm topics."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from agents import configuration
from agents.commands.options import configured, with_settings
from agents.configuration import Configuration
from agents.stream.errors import BadConfiguration, StreamError, UnequalPartitions

broker = typer.Typer(help="The embedded Apache Kafka of this machine.")
topics = typer.Typer(help="The topics on the broker.")

Home = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Keeps the data; the other commands find it by MM_HOME only.")
]

DEFAULT_PARTITIONS = 4


class NotRunning(StreamError):
    """What should run does not."""

    exit_status = 1


@broker.command()
def up(home: Home = None, port: Annotated[int | None, typer.Option(min=1, max=65535)] = None) -> None:
    """Start it, unless it runs already."""
    from deploy import broker as embedded

    running = embedded.up(_home(home), port=port)
    if port is not None and running.port != port:
        raise BadConfiguration(f"the broker runs already, on port {running.port}; stop it first: mm broker down")
    typer.echo(f"broker up at {running.bootstrap} (process {running.pid}, log {running.log})")
    if home is not None:
        typer.echo(f"it is not the default one: give the others --bootstrap {running.bootstrap}")


@broker.command()
def down(home: Home = None) -> None:
    """Stop it; the data stay."""
    from deploy import broker as embedded

    typer.echo("broker stopped" if embedded.down(_home(home)) else "no broker was running")


@broker.command()
def status(home: Home = None) -> None:
    """Tell whether it runs, and where."""
    from deploy import broker as embedded

    running = embedded.status(_home(home))
    if running is None:
        raise NotRunning(f"no broker runs in {_home(home)}; start it with: mm broker up")
    typer.echo(f"broker up at {running.bootstrap} (process {running.pid}, log {running.log})")


def _home(given: Path | None) -> Path:
    return given or configuration.broker_home()


@topics.command()
@configured
def create(
    configuration: Configuration,
    partitions: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Of every topic but controls, which has one; 4, or as many as there are."),
    ] = None,
    replication: Annotated[int, typer.Option(min=1, max=16)] = 1,
) -> None:
    """Create those that are missing; the default controls come with the topic controls."""
    from agents.controls import operator
    from agents.stream import clients
    from agents.stream import topics as broker_topics
    from schemas.topics import CONTROLS, TOPICS

    config = configuration.kafka()
    admin = clients.admin(config)
    there = broker_topics.present_partitions(admin, config, TOPICS.values())
    if there is not None and partitions not in (None, there):
        raise UnequalPartitions(
            f"topics are there already, with {there} partitions, which cannot be changed; choose another --prefix"
        )
    number = partitions or there or DEFAULT_PARTITIONS
    created = broker_topics.create(admin, config, TOPICS.values(), number, replication)
    if config.name(CONTROLS.name) in created:
        operator.write_defaults(config)
    broker_topics.check(admin, config, TOPICS.values())
    typer.echo(f"created {', '.join(sorted(created))}" if created else "all topics are there already")


@topics.command()
@configured
def check(configuration: Configuration) -> None:
    """Check that all are there and fit together."""
    from agents.stream import clients
    from agents.stream import topics as broker_topics
    from agents.stream.policies import differing_policies
    from schemas.topics import TOPICS

    config = configuration.kafka()
    admin = clients.admin(config)
    partitions = broker_topics.check(admin, config, TOPICS.values())
    differing = differing_policies(admin, config, TOPICS.values())
    if differing:
        raise BadConfiguration("; ".join(differing))
    typer.echo(f"{len(TOPICS)} topics with {partitions} partitions each (controls: 1) are there and fit together")


@topics.command()
@with_settings
def repartition(
    configuration: Configuration,
    to: Annotated[str, typer.Option(metavar="PREFIX", help="Of the new topics, groups and transactional ids.")],
    partitions: Annotated[int, typer.Option(min=1, max=1024, help="Of every new topic but controls.")],
) -> None:
    """Carry a desk that is at rest over to new topics with another number of partitions."""
    from agents.repartition.run import repartition as carry_over
    from schemas.topics import QUOTES

    old = configuration.kafka()
    moved = carry_over(old, replace(old, prefix=to), partitions, configuration.settings())
    typer.echo(
        f"{moved.symbols} symbols and {moved.pending} records of quotes carried from {moved.before} to "
        f"{moved.after} partitions; go on with MM_PREFIX={to}"
    )
    if moved.left_behind:
        typer.echo(f"{moved.left_behind} quotes that no agent could have used stay in {old.name(QUOTES.name)}")


def is_broker_error(error: Exception) -> bool:
    """Whether the embedded broker could not do what was asked; its message says what to do."""
    # Where it was never used it is not loaded for this: a container image has no embedded broker.
    embedded = sys.modules.get("deploy.broker")
    return embedded is not None and isinstance(error, embedded.BrokerError)
