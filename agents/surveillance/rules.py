"""One record applied to the row of its symbol: the new row, and the alerts that come of it. Pure."""

from __future__ import annotations

import msgspec

from agents.surveillance.findings import Finding, with_alerts
from agents.surveillance.rows import (
    MINUTE_NS,
    ExecutionsRow,
    OrdersRow,
    PartitionRow,
    PnlRow,
    Seen,
    SignalsRow,
    Sums,
    TradesRow,
    add,
    minute_of,
    window,
)
from agents.surveillance.settings import SurveillanceSettings, ValueRule, WindowRule
from schemas.records import Alert, Execution, Order, Outcome, OutcomeReason, Pnl, Signal, SignalReason, Trade
from schemas.times import NS

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
    last = minute_of(ts)
    count, turned_over = (window(row.minutes, last, rule.minutes) for rule in (settings.trade_count, settings.turnover))
    what = f"turnover of {turned_over.turnover:,.2f} dollars"
    findings = [
        _window("trade_count", settings, symbol, ts, float(count.trades), f"{count.trades} trades"),
        _window("turnover", settings, symbol, ts, turned_over.turnover, what),
    ]
    return with_alerts(row, findings)


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
    return with_alerts(after, [finding])


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
    drawdown = peak - pnl.net
    text = f"{pnl.symbol}: net {pnl.net:,.2f} is {drawdown:,.2f} below its highest, {peak:,.2f}"
    return with_alerts(after, [_bound("drawdown", settings, pnl.symbol, pnl.ts, drawdown, text)])


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
    text = f"{signal.symbol}: mid {signal.mid:g} is {deviation:.1f} sd away from its average, {signal.ema:g}"
    return with_alerts(after, [_bound("jump", settings, signal.symbol, signal.ts, deviation, text)])


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
    used = exposure / limit if limit > 0 else 0.0
    text = f"{order.symbol}: position of {exposure:,.2f} dollars uses {used:.0%} of its limit"
    return with_alerts(after, [_bound("position", settings, order.symbol, order.ts, used, text)])


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
    return with_alerts(after, [finding])


def _bound(name: str, settings: SurveillanceSettings, symbol: str, ts: int, value: float, text: str) -> Finding:
    """How a value of a symbol stands to the bound of its rule."""
    rule: ValueRule = getattr(settings, name)
    return Finding(
        rule=name,
        settings=rule,
        subject=symbol,
        symbol=symbol,
        ts=ts,
        began=ts,
        over=value > rule.above,
        calm=value <= rule.above * settings.clear_below,
        value=value,
        threshold=rule.above,
        text=text,
    )


def _window(name: str, settings: SurveillanceSettings, symbol: str, ts: int, value: float, what: str) -> Finding:
    """As `_bound`, for a sum over the whole minutes that end with that of `ts`."""
    rule: WindowRule = getattr(settings, name)
    start = minute_of(ts) - (rule.minutes - 1) * MINUTE_NS
    finding = _bound(name, settings, symbol, ts, value, f"{symbol}: {what} within {rule.minutes} minutes")
    return msgspec.structs.replace(finding, began=start, window_start=start, window_seconds=rule.minutes * 60.0)
