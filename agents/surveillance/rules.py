"""One record applied to the row of its symbol: the new row, and the alerts that come of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from agents.surveillance.findings import Finding, Open, alerts_of
from agents.surveillance.rows import (
    MINUTE_NS,
    ExecutionsRow,
    OrdersRow,
    PartitionRow,
    PnlRow,
    Row,
    Seen,
    SignalsRow,
    Sums,
    TradesRow,
    add,
    minute_of,
    window,
)
from agents.surveillance.settings import SurveillanceSettings, WindowRule
from schemas.records import Alert, Execution, Order, Outcome, OutcomeReason, Pnl, Signal, SignalReason, Trade

_Row = TypeVar("_Row", bound=Row)
NS = 1_000_000_000
GONE = (OutcomeReason.END, OutcomeReason.REMOVED)


def apply_trade(
    row: TradesRow | None, trade: Trade, seen: Seen, settings: SurveillanceSettings
) -> tuple[TradesRow, list[Alert]]:
    """Count a trade; judge the windows that end with its minute."""
    sums = Sums(trades=1, turnover=trade.shares * trade.price, realised=trade.realised)
    before = row or TradesRow(at=-1, ts=0, arrived=0)
    after = msgspec.structs.replace(
        before,
        at=seen.offset,
        ts=trade.ts,
        arrived=seen.arrived,
        total=before.total.plus(sums),
        minutes=add(before.minutes, trade.ts, sums, settings.kept_minutes),
    )
    return judge_windows(trade.symbol, after, trade.ts, settings)


def judge_windows(
    symbol: str, row: TradesRow, ts: int, settings: SurveillanceSettings
) -> tuple[TradesRow, list[Alert]]:
    """Judge a symbol's windows at an event time, that of a trade of its or a later one."""
    findings = [
        _window_finding("trade_count", settings.trade_count, symbol, row, ts, settings.clear_below),
        _window_finding("turnover", settings.turnover, symbol, row, ts, settings.clear_below),
    ]
    return _with_alerts(row, findings)


def apply_execution(
    row: ExecutionsRow | None, execution: Execution, seen: Seen, settings: SurveillanceSettings
) -> tuple[ExecutionsRow, list[Alert]]:
    """Count a decision and its refusal; judge the age of its quote."""
    refused = {}
    if execution.outcome is Outcome.REFUSED:
        refused = {str(execution.reason): 1}
    sums = Sums(decisions=1, refused=refused)
    after = ExecutionsRow(
        at=seen.offset,
        ts=execution.ts,
        arrived=seen.arrived,
        open=row.open if row else {},
        total=(row.total if row else Sums()).plus(sums),
        minutes=add(row.minutes if row else {}, execution.ts, sums, settings.kept_minutes),
        quote_ts=execution.quote_ts,
        reason=execution.reason,
    )
    finding = silence(execution.symbol, after, execution.ts, settings)
    return _with_alerts(after, [finding])


def silence(symbol: str, row: ExecutionsRow, now: int, settings: SurveillanceSettings) -> Finding:
    """How old a symbol's last quote is at an event time; symbols that were taken out are not silent."""
    rule = settings.silent_symbol
    age = max(0.0, (now - row.quote_ts) / NS)
    over = age > rule.seconds or row.reason is OutcomeReason.STALE
    became = max(row.quote_ts, min(now, row.quote_ts + int(rule.seconds * NS)))
    removed = row.reason is OutcomeReason.REMOVED
    return Finding(
        rule="silent_symbol",
        settings=rule,
        subject=symbol,
        symbol=symbol,
        ts=became if over else now,
        began=row.quote_ts,
        over=over and row.reason not in GONE,
        calm=removed or not over,
        value=age,
        threshold=rule.seconds,
        text=f"{symbol} has had no usable quote for {age:.0f} s while the clock went on",
    )


def apply_pnl(row: PnlRow | None, pnl: Pnl, seen: Seen, settings: SurveillanceSettings) -> tuple[PnlRow, list[Alert]]:
    """Take a symbol's net; judge how far it is below its highest."""
    peak = max(row.peak if row else 0.0, pnl.net)
    after = PnlRow(
        at=seen.offset,
        ts=pnl.ts,
        arrived=seen.arrived,
        open=row.open if row else {},
        net=pnl.net,
        peak=peak,
    )
    drawdown, rule = peak - pnl.net, settings.drawdown
    finding = Finding(
        rule="drawdown",
        settings=rule,
        subject=pnl.symbol,
        symbol=pnl.symbol,
        ts=pnl.ts,
        began=pnl.ts,
        over=drawdown > rule.above,
        calm=drawdown <= rule.above * settings.clear_below,
        value=drawdown,
        threshold=rule.above,
        text=f"{pnl.symbol}: net {pnl.net:,.2f} is {drawdown:,.2f} below its highest, {peak:,.2f}",
    )
    return _with_alerts(after, [finding])


def apply_signal(
    row: SignalsRow | None, signal: Signal, seen: Seen, settings: SurveillanceSettings
) -> tuple[SignalsRow, list[Alert]]:
    """Take a symbol's verdict; judge how far its mid is from the average. Cold or without sd: not judged."""
    known = signal.sd is not None and signal.sd > 0 and signal.reason is not SignalReason.WARMUP
    deviation = abs(signal.mid - signal.ema) / signal.sd if known and signal.sd else None
    after = SignalsRow(
        at=seen.offset,
        ts=signal.ts,
        arrived=seen.arrived,
        open=row.open if row else {},
        reason=signal.reason,
        session=signal.session,
        deviation=deviation,
    )
    if deviation is None:
        return after, []
    rule = settings.jump
    finding = Finding(
        rule="jump",
        settings=rule,
        subject=signal.symbol,
        symbol=signal.symbol,
        ts=signal.ts,
        began=signal.ts,
        over=deviation > rule.above,
        calm=deviation <= rule.above * settings.clear_below,
        value=deviation,
        threshold=rule.above,
        text=f"{signal.symbol}: mid {signal.mid:g} is {deviation:.1f} sd away from its average, {signal.ema:g}",
    )
    return _with_alerts(after, [finding])


def apply_order(
    row: OrdersRow | None, order: Order, seen: Seen, settings: SurveillanceSettings
) -> tuple[OrdersRow, list[Alert]]:
    """Take a symbol's position and the room its limit leaves; judge how much of the limit is used."""
    exposure = abs(order.position) * (order.bid + order.ask) / 2
    limit = None if order.room_dollars is None else exposure + order.room_dollars
    after = OrdersRow(
        at=seen.offset,
        ts=order.ts,
        arrived=seen.arrived,
        open=row.open if row else {},
        exposure=exposure,
        limit=limit,
    )
    if limit is None:
        return after, []
    rule = settings.position
    used = exposure / limit if limit > 0 else 0.0
    finding = Finding(
        rule="position",
        settings=rule,
        subject=order.symbol,
        symbol=order.symbol,
        ts=order.ts,
        began=order.ts,
        over=used > rule.above,
        calm=used <= rule.above * settings.clear_below,
        value=used,
        threshold=rule.above,
        text=f"{order.symbol}: position of {exposure:,.2f} dollars uses {used:.0%} of its limit",
    )
    return _with_alerts(after, [finding])


def apply_dead_letter(
    row: PartitionRow | None, text: str, seen: Seen, settings: SurveillanceSettings
) -> tuple[PartitionRow, list[Alert]]:
    """Count a dead letter; its time is the wall time at which it was written."""
    ts = seen.arrived * 1_000_000
    after = PartitionRow(
        at=seen.offset,
        ts=ts,
        arrived=seen.arrived,
        open=row.open if row else {},
        dead_letters=(row.dead_letters if row else 0) + 1,
    )
    rule = settings.dead_letters
    finding = Finding(
        rule="dead_letters",
        settings=rule,
        subject=f"partition-{seen.partition}",
        symbol=None,
        ts=ts,
        began=seen.offset,
        over=True,
        calm=False,
        value=after.dead_letters,
        threshold=0,
        text=f"dead letters in partition {seen.partition}, the first of them {text}",
    )
    return _with_alerts(after, [finding])


def _window_finding(name: str, rule: WindowRule, symbol: str, row: TradesRow, ts: int, clear_below: float) -> Finding:
    last = minute_of(ts)
    sums = window(row.minutes, last, rule.minutes)
    value = float(sums.trades) if name == "trade_count" else sums.turnover
    what = f"{sums.trades} trades" if name == "trade_count" else f"turnover of {sums.turnover:,.2f} dollars"
    start = last - (rule.minutes - 1) * MINUTE_NS
    return Finding(
        rule=name,
        settings=rule,
        subject=symbol,
        symbol=symbol,
        ts=ts,
        began=start,
        over=value > rule.above,
        calm=value <= rule.above * clear_below,
        value=value,
        threshold=rule.above,
        text=f"{symbol}: {what} within {rule.minutes} minutes",
        window_start=start,
        window_seconds=rule.minutes * 60.0,
    )


def _judge(open_alerts: Open, findings: Sequence[Finding]) -> tuple[Open, list[Alert]]:
    published: list[Alert] = []
    for finding in findings:
        open_alerts, alerts = alerts_of(open_alerts, finding)
        published += alerts
    return open_alerts, published


def _with_alerts(row: _Row, findings: Sequence[Finding]) -> tuple[_Row, list[Alert]]:
    open_alerts, alerts = _judge(row.open, findings)
    return msgspec.structs.replace(row, open=open_alerts), alerts
