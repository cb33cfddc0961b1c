"""From a condition that holds or does not to alerts: raised once, cleared once."""

from __future__ import annotations

import msgspec

from agents.surveillance.settings import Rule
from schemas.records import Alert, AlertState
from schemas.times import rfc3339

Open = dict[str, Alert]
"""Alerts that are raised, by rule."""


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


def alerts_of(open_alerts: Open, finding: Finding) -> tuple[Open, list[Alert]]:
    """What is open after a finding, and what is to be published.

    Both alerts of one occurrence, RAISED and CLEARED, have the id `SUBJECT-rule-began`: one that is published again
    after a crash is known by its id and state.
    """
    raised = open_alerts.get(finding.rule)
    if raised is None and finding.over and finding.settings.enabled:
        alert = _raised(finding)
        return {**open_alerts, finding.rule: alert}, [alert]
    if raised is not None and (finding.calm or not finding.settings.enabled):
        left = {rule: alert for rule, alert in open_alerts.items() if rule != finding.rule}
        return left, [_cleared(raised, finding)]
    return open_alerts, []


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
