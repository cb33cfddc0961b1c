"""Whether a peer has computed what our agent computes: nobody is compared while doing something else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from agents.stream.config import KafkaConfig
from agents.stream.watch import read_whole

TOLERANCE = 1e-9
"""Relative, of ema and sd."""
_NOTHING = 1e-12  # dollars: a sd of a symbol whose price has not moved


class AuditFailed(RuntimeError):
    """A contestant's signals are not those of the signals agent; the message says in what."""


@dataclass(frozen=True)
class Decision:
    """What a signal says."""

    ema: float
    sd: float | None
    verdict: str


Decisions = Mapping[tuple[str, int], Decision]
"""By symbol and decision time."""


def decisions(config: KafkaConfig, topic: str) -> Decisions:
    """The signals of a topic. Raises AuditFailed when one is there twice."""
    found: dict[tuple[str, int], Decision] = {}
    for message in read_whole(config, topic):
        row = orjson.loads(message.value())
        at = row["symbol"], row["ts"]
        if at in found:
            raise AuditFailed(f"{topic}: two signals for {at}")
        found[at] = Decision(row["ema"], row["sd"], row["verdict"])
    return found


def compare(name: str, found: Decisions, ours: Decisions, last_ts: Mapping[str, int]) -> int:
    """Compare a peer's signals with ours; return how many there are. Raises AuditFailed.

    Peers know no clock records: they owe a decision only where a later quote of the symbol fires it.
    """
    owed = {at for at in ours if at[1] <= last_ts[at[0]]}
    if found.keys() != owed:
        missing, more = len(owed - found.keys()), len(found.keys() - owed)
        raise AuditFailed(f"{name}: {missing} of {len(owed)} signals are missing, {more} are too many")
    for at in owed:
        theirs, mine = found[at], ours[at]
        if not _agree(theirs, mine):
            raise AuditFailed(f"{name}: {theirs} at {at}, and ours is {mine}")
    return len(owed)


def _agree(theirs: Decision, mine: Decision) -> bool:
    if not math.isclose(theirs.ema, mine.ema, rel_tol=TOLERANCE):
        return False
    if theirs.sd is None or mine.sd is None:
        return theirs.sd is mine.sd
    return theirs.verdict == mine.verdict and math.isclose(theirs.sd, mine.sd, rel_tol=TOLERANCE, abs_tol=_NOTHING)
