"""What can go wrong between an agent and Kafka, and the exit status that tells a supervisor which it was."""

from __future__ import annotations


class StreamError(Exception):
    """An error with a message that says what to do; `exit_status` is the process's."""

    exit_status = 70


class BadConfiguration(StreamError):
    """A setting that cannot be used."""

    exit_status = 2


class NoBroker(StreamError):
    """No broker answers at the bootstrap address."""

    exit_status = 3


class MissingTopics(StreamError):
    """Topics that the agent needs do not exist."""

    exit_status = 4


class UnequalPartitions(StreamError):
    """Topics of the chain have different numbers of partitions."""

    exit_status = 5


class TornState(StreamError):
    """Table, checkpoint and group offset of a partition do not belong together."""

    exit_status = 6


class InputGap(StreamError):
    """Input that the agent has not read yet is gone from the log."""

    exit_status = 7


class InstanceTaken(StreamError):
    """Another process runs under the same instance name."""

    exit_status = 8


class HeldBack(StreamError):
    """Something must be read that lies behind a transaction which does not end; a restart tries again."""

    exit_status = 9


class OutputRefused(StreamError):
    """The broker takes no output of the agent, however often it is tried: a limit of a topic, or a missing right."""

    exit_status = 10


class UnreadableState(StreamError):
    """Stored state has a form that this version does not know."""

    exit_status = 11


class TransactionFailed(StreamError):
    """The open transaction cannot be committed, but its producer lives: abort, restore, go on."""


class Refused(TransactionFailed):
    """The transaction failed for a reason that hardly passes by itself; `remedy` says what helps."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


class ProducerLost(StreamError):
    """The producer is of no more use, or nobody knows whether its transaction was committed: replace it."""


STUCK_EXIT_STATUS = 75
"""Exit status of a process whose watchdog ended it; a supervisor restarts it at once."""
