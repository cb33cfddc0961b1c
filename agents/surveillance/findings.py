"""From a condition that holds or does not to alerts: raised once, cleared once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from agents.surveillance.rows import Row
from agents.surveillance.settings import Rule
from schemas.records import Alert, AlertState
from schemas.times import rfc3339

_Row = TypeVar("_Row", bound=Row)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """How a rule stands at an event time.

    over: the condition holds; calm: it is over (neither: leave it as it is); subject: the symbol, or the partition;
    began: what tells this occurrence from others, part of the alert's id, known from the input alone.
    """

    rule: str
    settings: Rule
    subject: str
    symbol: str | None
    ts: int
    began: int
    over: bool
    calm: bool
    value: float
    threshold: float
    text: str
    window_start: int | None = None
    window_seconds: float | None = None


def with_alerts(row: _Row, findings: Sequence[Finding]) -> tuple[_Row, list[Alert]]:
    """A row with the alerts that are open after some findings, and what is to be published.

    Both alerts of one occurrence, RAISED and CLEARED, have the id `SUBJECT-rule-began`: one that is published again
    after a crash is known by its id and state.
    """
    open_alerts = dict(row.open)
    published = []
    for finding in findings:
        raised = open_alerts.get(finding.rule)
        if raised is None and finding.over and finding.settings.enabled:
            open_alerts[finding.rule] = _raised(finding)
            published.append(open_alerts[finding.rule])
        elif raised is not None and (finding.calm or not finding.settings.enabled):
            del open_alerts[finding.rule]
            published.append(_cleared(raised, finding))
    return msgspec.structs.replace(row, open=open_alerts), published


def _raised(finding: Finding) -> Alert:
    return Alert(
        id=f"{finding.subject}-{finding.rule}-{finding.began}",
        ts=finding.ts,
        time=rfc3339(finding.ts),
        symbol=finding.symbol,
        rule=finding.rule,
        severity=finding.settings.severity,
        value=finding.value,
        threshold=finding.threshold,
        window_start=finding.window_start,
        window_seconds=finding.window_seconds,
        state=AlertState.RAISED,
        text=finding.text,
    )


def _cleared(raised: Alert, finding: Finding) -> Alert:
    return msgspec.structs.replace(
        raised,
        ts=finding.ts,
        time=rfc3339(finding.ts),
        value=finding.value,
        state=AlertState.CLEARED,
        text=f"over: {raised.text}",
    )
