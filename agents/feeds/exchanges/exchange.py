"""What the live feed has to know of an exchange: its names, what to ask for, and what its messages mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Tick(NamedTuple):
    """Best bid and ask of one of our symbols; exchange_ts: the exchange's own time, ns, 0 where it sends none."""

    symbol: str
    bid: float
    bid_size: float
    ask: float
    ask_size: float
    exchange_ts: int


class Gap(NamedTuple):
    """Quotes of a symbol were missed, or may have been: which, as text."""

    symbol: str
    missed: str


class OutOfOrder(NamedTuple):
    """A quote that is older than one that was read before; it is left out."""

    symbol: str


class Refused(NamedTuple):
    """The exchange does not serve what was asked for; symbol: which of ours, None if it does not say."""

    symbol: str | None
    text: str


class Trouble(NamedTuple):
    """The exchange says that this connection is of no more use; another one may be."""

    text: str


Event = Tick | Gap | OutOfOrder | Refused | Trouble


class Garbage(ValueError):
    """A message that is not what the exchange documents; the text says in what."""


class Reader(Protocol):
    """Understands one exchange's messages, over all connections of a run."""

    def connected(self) -> None:
        """A connection is new: what comes need not follow on what was read before."""
        ...

    def read(self, message: bytes) -> Iterable[Event]:
        """What a message means; nothing for acknowledgements, heartbeats and kinds that are not known.

        Raises Garbage, and nothing else, whatever the message; the events may raise it too, after those that can be
        read.
        """
        ...


@dataclass(frozen=True)
class Limits:
    """What an exchange bears, with room left for other programs behind the same address.

    attempts in attempt_seconds: connections that may be tried; message_seconds: between two requests on a
    connection; symbols: on a connection; symbols_a_request: in one request.
    """

    attempts: int
    attempt_seconds: float
    message_seconds: float
    symbols: int
    symbols_a_request: int


@dataclass(frozen=True)
class Exchange:
    """One exchange's best-bid-and-ask channel.

    symbol: our name (BASE-QUOTE) from what a user wrote; pair: the exchange's name of a symbol in its messages.
    requests: the messages that subscribe to symbols. reader: from the exchange's names to ours.
    stall_seconds: a connection without a message for so long is dead, although its pings are answered. Longer than an
    exchange is silent by itself.
    """

    name: str
    url: str
    limits: Limits
    stall_seconds: float
    symbol: Callable[[str], str]
    pair: Callable[[str], str]
    requests: Callable[[Sequence[str]], list[bytes]]
    reader: Callable[[Mapping[str, str]], Reader]


def in_groups(names: Sequence[str], size: int) -> list[Sequence[str]]:
    """Names in groups of at most that many."""
    return [names[begin : begin + size] for begin in range(0, len(names), size)]
