"""What no record tells: silence, a stopped grid, windows that have passed. Judged each second; pure.

The caller asks only when it has taken everything that is in its topics: while it catches up, one partition may be
minutes of event time ahead of another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agents.surveillance.findings import Finding, with_alerts
from agents.surveillance.rows import ExecutionsRow, PartitionRow, Row, SignalsRow, TradesRow
from agents.surveillance.rules import GONE, judge_windows, silence
from agents.surveillance.settings import SurveillanceSettings
from schemas.records import Alert, SessionState, SignalReason
from schemas.times import NS

NS_PER_MS = 1_000_000
BEHIND_MS = 5_000
"""A fast replay writes minutes of event time at once: only a symbol that also lags in wall time is silent."""
_NOT_DECIDED_ON = (SignalReason.STALE, SignalReason.REMOVED, SignalReason.END)

Change = tuple[str, Row, list[Alert]]
"""A row's key, the row as it is to be, and what is to be published."""


def silent_symbols(rows: Mapping[str, ExecutionsRow], settings: SurveillanceSettings) -> Iterator[Change]:
    """Symbols whose quotes have stopped while others move; the next execution clears them."""
    if not rows:
        return
    now = max(row.quote_ts for row in rows.values())
    arrived = max(row.arrived for row in rows.values())
    for symbol, row in rows.items():
        if "silent_symbol" in row.open or arrived - row.arrived < BEHIND_MS or row.reason in GONE:
            continue
        if now - row.quote_ts > settings.silent_symbol.seconds * NS:
            yield symbol, *with_alerts(row, [silence(symbol, row, now, settings)])


def passed_windows(rows: Mapping[str, TradesRow], now: int, settings: SurveillanceSettings) -> Iterator[Change]:
    """Windows that event time has left behind, so that what they raised is over."""
    for symbol, row in rows.items():
        if row.open and now > row.ts:
            after, alerts = judge_windows(symbol, row, now, settings)
            if alerts:
                yield symbol, after, alerts


def partition(
    number: int,
    row: PartitionRow | None,
    signals: Mapping[str, SignalsRow],
    executions: Mapping[str, ExecutionsRow],
    now_ms: int,
    since_ms: int,
    settings: SurveillanceSettings,
) -> Iterator[Change]:
    """A partition's stopped grid, and its dead letters that have ceased; arguments as for `grid`."""
    after = row or PartitionRow(at=-1, ts=0, arrived=0)
    findings = [grid(number, after.open.get("grid"), signals, executions, now_ms, since_ms, settings)]
    if row is not None:
        findings.append(calm_dead_letters(number, row, now_ms, settings))
    after, published = with_alerts(after, findings)
    if published:
        yield str(number), after, published


def grid(
    partition: int,
    raised: Alert | None,
    signals: Mapping[str, SignalsRow],
    executions: Mapping[str, ExecutionsRow],
    now_ms: int,
    since_ms: int,
    settings: SurveillanceSettings,
) -> Finding:
    """A partition with symbols to decide on, but without executions for a while of wall time.

    raised: the alert that is open; since_ms: from when on executions would have been seen. A desk whose symbols have
    ended, gone stale or are outside their session does not stop: it rests. But one that has stopped is at work again
    only when an execution comes, as it does of every signal, those that say so included.
    """
    expected = [
        symbol
        for symbol, signal in signals.items()
        if signal.reason not in _NOT_DECIDED_ON and signal.session is not SessionState.CLOSED
    ]
    # The one that came last: feeds may be at different event times.
    last_ms, last_ts = max(((execution.arrived, execution.ts) for execution in executions.values()), default=(0, 0))
    seconds = (now_ms - max(last_ms, since_ms)) / 1000
    rule = settings.grid
    return Finding(
        rule="grid",
        settings=rule,
        subject=f"partition-{partition}",
        symbol=None,
        ts=last_ts,
        began=last_ts,
        over=bool(expected) and seconds > rule.seconds,
        calm=raised is not None and last_ts != raised.ts,
        value=seconds,
        threshold=rule.seconds,
        text=f"no decision in partition {partition} for {seconds:.0f} s, with {len(expected)} symbols to decide on",
    )


def calm_dead_letters(partition: int, row: PartitionRow, now_ms: int, settings: SurveillanceSettings) -> Finding:
    """Dead letters that have stopped appearing."""
    rule = settings.dead_letters
    seconds = (now_ms - row.arrived) / 1000
    return Finding(
        rule="dead_letters",
        settings=rule,
        subject=f"partition-{partition}",
        symbol=None,
        ts=row.ts + int(rule.seconds * NS),
        began=row.at,
        over=False,
        calm=seconds > rule.seconds,
        value=row.dead_letters,
        threshold=0,
        text="",
    )
