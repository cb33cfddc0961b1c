"""Which principal may do what on Kafka: the rule that each topic has one writer, for a broker to enforce.

`deploy/acls.txt` is made from this: one line for each call of Kafka's AclCommand (`kafka-acls.sh`). Principals have
the names of the writers of `schemas.topics`. ``python -m deploy.acls --prefix PREFIX`` prints the lines for names with
a prefix; with ``--write`` it writes the file.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from schemas.topics import (
    ALERTS,
    CHECKPOINTS,
    CONTROLS,
    DEAD_LETTERS,
    EXECUTIONS,
    MOMENTS,
    ORDERS,
    PNL,
    POSITIONS,
    QUOTES,
    SIGNALS,
    TOPICS,
    TRADES,
    Topic,
    Writer,
)

FILE = Path(__file__).with_suffix(".txt")
READERS_GROUP = "reader"
"""Group id of readers that join no group; the client asks for its coordinator all the same."""

MONEY = (Writer.SIGNALS, Writer.EXECUTION, Writer.PORTFOLIO)
AGENTS = (*MONEY, Writer.SURVEILLANCE)
PRINCIPALS = (Writer.FEEDS, Writer.OPERATOR, *AGENTS)

WRITERS: Mapping[Writer, tuple[Writer, ...]] = {
    **{principal: (principal,) for principal in PRINCIPALS},
    Writer.EVERY_AGENT: AGENTS,
    Writer.MONEY_AGENTS: MONEY,
}
"""The principals that a topic's writer stands for."""

READS: Mapping[Writer, tuple[Topic, ...]] = {
    Writer.FEEDS: (QUOTES,),  # how far they go already
    Writer.OPERATOR: tuple(TOPICS.values()),
    Writer.SIGNALS: (QUOTES, CONTROLS, MOMENTS, CHECKPOINTS),
    Writer.EXECUTION: (SIGNALS, POSITIONS, CHECKPOINTS),
    Writer.PORTFOLIO: (EXECUTIONS, PNL, CHECKPOINTS),
    Writer.SURVEILLANCE: (TRADES, EXECUTIONS, PNL, SIGNALS, ORDERS, DEAD_LETTERS, ALERTS),
}
"""What each principal reads: its input, its table, what it looks up."""


@dataclass(frozen=True, order=True)
class Acl:
    """One access right. kind: topic, group or transactional-id; prefixed: for all names that begin with `name`."""

    principal: str
    operation: str
    kind: str
    prefixed: bool
    name: str


def acls(prefix: str = "") -> list[Acl]:
    """All access rights, in order. prefix: what stands before every name on Kafka (MM_PREFIX)."""
    return sorted({acl for principal in PRINCIPALS for acl in _of(principal, prefix)})


def _of(principal: Writer, prefix: str) -> Iterator[Acl]:
    user = f"User:{principal}"
    for topic in TOPICS.values():
        yield Acl(user, "Describe", "topic", False, prefix + topic.name)
        if principal in WRITERS[topic.writer]:
            yield Acl(user, "Write", "topic", False, prefix + topic.name)
    for topic in READS[principal]:
        yield Acl(user, "Read", "topic", False, prefix + topic.name)
    yield Acl(user, "Read", "group", False, prefix + READERS_GROUP)
    if principal in AGENTS:
        yield Acl(user, "Read", "group", False, prefix + principal)
    if principal in MONEY:
        # transactions of all instances of the role
        yield Acl(user, "Write", "transactional-id", True, f"{prefix}{principal}-")
    if principal is Writer.SURVEILLANCE:
        # Faust's tables
        for operation in ("Create", "Read", "Write"):
            yield Acl(user, operation, "topic", True, f"{prefix}{principal}-")
    if principal is Writer.OPERATOR:
        for topic in TOPICS.values():
            yield Acl(user, "DescribeConfigs", "topic", False, prefix + topic.name)


def lines(prefix: str = "") -> list[str]:
    """The arguments of AclCommand that add all rights, a line a call."""

    def call(acl: Acl) -> tuple[str, str, str, bool]:
        return acl.principal, acl.operation, acl.kind, acl.prefixed

    return [
        " ".join(
            (
                f"--add --allow-principal {principal} --operation {operation}",
                *(f"--{kind} {acl.name}" for acl in same),
                *(("--resource-pattern-type prefixed",) if prefixed else ()),
            )
        )
        for (principal, operation, kind, prefixed), same in groupby(acls(prefix), call)
    ]


def content(prefix: str = "") -> str:
    """The file."""
    return "".join(f"{line}\n" for line in lines(prefix))


def main() -> int:
    """Print the lines or write the file; 0."""
    parser = argparse.ArgumentParser(prog="python -m deploy.acls", description="Access rights for Kafka's AclCommand.")
    parser.add_argument("--prefix", default="", help="what stands before every name on Kafka (MM_PREFIX)")
    parser.add_argument("--write", action="store_true", help=f"write {FILE.name}, which has none")
    options = parser.parse_args()
    if options.write:
        FILE.write_text(content())
    else:
        print(content(options.prefix), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
