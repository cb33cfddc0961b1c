"""Quotes and clocks in, marks and decisions out: the compiled core of the signals agent and of the backtest.

`advance` applies rows one by one to the state of a partition (`desk.Desk`) and fires the grids of event time. What
fires for a symbol depends on its own rows and on the clock alone, never on its neighbours.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from agents.strategy.moments import moments, weighted
from agents.strategy.runs import LEAST_ROWS, prepare
from agents.strategy.session import NO_SESSION, SESSION_CLOSING, session_at
from agents.strategy.settings import DAY_NS
from schemas.columns import CLOCK, END_CLOCK, QUOTE
from schemas.times import EARLIEST_TS, NS

MARK, DECISION, END = 1, 2, 3
"""Kinds of events."""
HOLD, BUY, SELL = 0, 1, 2
"""Verdicts."""
NO_REASON, WARMUP, STALE, REMOVED, AT_END = 0, 1, 2, 3, 4
"""Reasons of a signal."""
FRESH, FIRST_STALE, STILL_STALE = 0, 1, 2
"""How the age of the quote in force compares with its bound, at this decision time and the one before."""
IGNORED, LISTED, WATCHED = 0, 1, 2
"""Who wants a symbol's events: nobody; the universe, by the common rule; a caller that looks at each decision time."""

LATEST_TS = 5_680_281_600 * NS
"""2150-01-01: up to here no sum of times can overflow."""
LARGEST_PRICE = 1e12
"""A price that no square of a difference overflows with, which would leave the moments without a number for ever."""

COUNTERS = (
    "used",
    "late",
    "bad_ts",
    "future",
    "not_finite",
    "bad_price",
    "bad_size",
    "crossed",
    "clock",
    "clock_back",
)
"""Names of the counters: rows by what became of them; ``crossed`` ones are used as well."""
_USED, _LATE, _BAD_TS, _FUTURE, _NOT_FINITE, _BAD_PRICE, _BAD_SIZE, _CROSSED, _CLOCK, _CLOCK_BACK = range(10)

BLOCK = 64
"""Symbols in one record of the table."""

ROW = np.dtype(
    [
        ("rows", "i8"),  # usable rows so far
        ("warm_start", "i8"),
        ("ts", "i8"),  # of the last usable quote
        ("bid", "f8"),
        ("bid_size", "f8"),
        ("ask", "f8"),
        ("ask_size", "f8"),
        ("ema", "f8"),
        ("var", "f8"),
        ("next_decision", "i8"),
        ("next_mark", "i8"),  # 0: no new quote since the last mark
    ]
)
"""State of one symbol."""

EVENT = np.dtype(
    [
        ("ts", "i8"),  # the decision time, the mark, or the end
        ("quote_ts", "i8"),
        ("bid", "f8"),
        ("bid_size", "f8"),
        ("ask", "f8"),
        ("ask_size", "f8"),
        ("mid", "f8"),
        ("ema", "f8"),
        ("sd", "f8"),  # NaN until the second usable row
        ("buy_below", "f8"),
        ("sell_above", "f8"),
        ("number", "i4"),
        ("kind", "u1"),
        ("verdict", "u1"),
        ("reason", "u1"),
        ("session", "u1"),
        ("age", "u1"),
        ("warm", "?"),
        ("buy", "?"),
        ("sell", "?"),
    ]
)
"""One mark or decision, with the state it was based on."""

PARAMETERS = np.dtype(
    [
        ("tau_ns", "f8"),
        ("band_sd", "f8"),
        ("decision_ns", "i8"),
        ("mark_ns", "i8"),
        ("warmup_ns", "i8"),
        ("gap_ns", "i8"),
        ("max_age_ns", "i8"),
        ("marks", "i8"),  # of MARKS_OFF, …
    ]
)
"""The settings as the kernels take them; times without a bound are `NEVER`."""
MARKS_OFF, MARKS_GRID, MARKS_EVERY = 0, 1, 2
"""When marks fire (`agents.strategy.settings.Marks`)."""
NEVER = np.iinfo(np.int64).max // 4


@nb.njit(cache=True, nogil=True)
def _emit(events, n, kind, ts, number, row, p, session, max_age_ns):
    """Write one event from a symbol's state."""
    event = events[n]
    mid = (row.bid + row.ask) * 0.5
    sd = np.sqrt(row.var) if row.rows > 1 else np.nan
    band = p.band_sd * sd
    event.ts = ts
    event.quote_ts = row.ts
    event.bid = row.bid
    event.bid_size = row.bid_size
    event.ask = row.ask
    event.ask_size = row.ask_size
    event.mid = mid
    event.ema = row.ema
    event.sd = sd
    event.buy_below = row.ema - band
    event.sell_above = row.ema + band
    event.number = number
    event.kind = kind
    event.session = session
    event.warm = row.ts > row.warm_start + p.warmup_ns
    event.buy = row.ask < event.buy_below
    event.sell = row.bid > event.sell_above
    age = ts - row.ts
    event.age = FRESH
    if age > max_age_ns:
        event.age = FIRST_STALE if age - p.decision_ns <= max_age_ns else STILL_STALE
    event.verdict = HOLD
    event.reason = NO_REASON
    if kind == END:
        event.reason = AT_END
    elif event.age != FRESH:
        event.reason = STALE
    elif not event.warm:
        event.reason = WARMUP
    elif event.buy:
        event.verdict = BUY
    elif event.sell:
        event.verdict = SELL


@nb.njit(cache=True, nogil=True)
def _fire(events, n, number, row, interest, until, p, opens, closings, closes):
    """Fire a symbol's mark and decision times up to `until`; return the number of events, or -1 - n when full."""
    if row.next_mark != 0 and until >= row.next_mark:
        if interest != IGNORED:
            if n == len(events):
                return -1 - n
            _emit(events, n, MARK, row.next_mark, number, row, p, NO_SESSION, NEVER)
            n += 1
        row.next_mark = 0
    if until < row.next_decision:
        return n
    first, step = row.next_decision, p.decision_ns
    after = (until // step + 1) * step
    if interest != IGNORED:
        last = min(after - step, row.ts + DAY_NS)
        if interest == LISTED and len(opens) == 0:
            # Beyond the first stale decision time nothing can come any more: do not walk through a long silence.
            last = min(last, row.ts + p.max_age_ns + step)
        # Counted by division: a loop that adds to ts until it passes a bound is miscompiled by numba >= 0.62.
        for k in range(max(0, (last - first) // step + 1)):
            ts = first + k * step
            session = session_at(ts, opens, closings, closes)
            if interest == LISTED and session != SESSION_CLOSING and ts - step - row.ts > p.max_age_ns:
                continue
            if n == len(events):
                row.next_decision = ts
                return -1 - n
            _emit(events, n, DECISION, ts, number, row, p, session, p.max_age_ns)
            n += 1
    row.next_decision = after
    return n


@nb.njit(cache=True, nogil=True)
def _apply(row, ts, bid, bid_size, ask, ask_size, p):
    """Take one usable quote into a symbol's state."""
    x = (bid + ask) * 0.5
    if row.rows == 0:
        row.warm_start = ts
        row.ema = x
        row.var = 0.0
        row.next_decision = (ts // p.decision_ns + 1) * p.decision_ns
    else:
        dt = ts - row.ts
        if dt > 0:
            row.ema, row.var = moments(x, float(dt) / p.tau_ns, row.ema, row.var)
            if dt > p.gap_ns:
                row.warm_start = ts
    row.rows += 1
    row.ts = ts
    row.bid = bid
    row.bid_size = bid_size
    row.ask = ask
    row.ask_size = ask_size


@nb.njit(cache=True, nogil=True)
def _feed_clock(clock, feed, ts, ends, feed_ts, feed_open, n_feeds):
    """The partition's clock after a feed's clock record: the least of the open feeds, and never back."""
    feed_ts[feed] = ts
    feed_open[feed] = not ends
    least, largest, anyone_open = NEVER, np.int64(0), False
    for f in range(n_feeds):
        largest = max(largest, feed_ts[f])
        if feed_open[f]:
            anyone_open = True
            least = min(least, feed_ts[f])
    return max(clock, least if anyone_open else largest), not anyone_open


@nb.njit(cache=True, nogil=True)
def _fire_all(events, n, rows, n_symbols, interest, touched, until, p, opens, closings, closes):
    """Fire all symbols up to `until`, the clock; returns as `_fire`."""
    for s in range(n_symbols):
        row = rows[s]
        if row.rows == 0:
            continue
        if row.next_decision <= until or (row.next_mark != 0 and row.next_mark <= until):
            touched[s // BLOCK] = True
            n = _fire(events, n, s, row, interest[s], until, p, opens, closings, closes)
            if n < 0:
                return n
    return n


@nb.njit(cache=True, nogil=True)
def _end_all(events, n, rows, n_symbols, interest, touched, clock, p, opens, closings, closes):
    """Publish every symbol's last mark and its end; returns the number of events, or -k when there is no room for k.

    They are written at once or not at all, so that a second try repeats none.
    """
    needed = 0
    for s in range(n_symbols):
        if rows[s].rows > 0 and interest[s] != IGNORED:
            needed += 2
    if needed > len(events) - n:
        return -needed
    for s in range(n_symbols):
        row = rows[s]
        if row.rows == 0:
            continue
        ends = max(clock, row.ts)
        if row.next_mark != 0:
            if interest[s] != IGNORED:
                _emit(events, n, MARK, ends, s, row, p, NO_SESSION, NEVER)
                n += 1
            row.next_mark = 0
            touched[s // BLOCK] = True
        if interest[s] != IGNORED:
            _emit(events, n, END, ends, s, row, p, session_at(ends, opens, closings, closes), NEVER)
            n += 1
    return n


@nb.njit(cache=True, nogil=True)
def advance(
    kind,
    number,
    ts,
    latest_ts,
    bid,
    bid_size,
    ask,
    ask_size,
    start,
    stop,
    rows,
    n_symbols,
    interest,
    touched,
    clock,
    feed_ts,
    feed_open,
    n_feeds,
    counts,
    events,
    p,
    opens,
    closings,
    closes,
    weights,
    unused,
):
    """Apply rows start..stop-1; return (first row not applied, number of events). A full buffer ends it early."""
    n = 0
    applied = first = prepared = start
    for i in range(start, stop):
        if i < applied:
            continue
        what = kind[i]
        if what == QUOTE:
            t = ts[i]
            s = number[i]
            row = rows[s]
            reason = _USED
            if t < EARLIEST_TS or t > LATEST_TS:
                reason = _BAD_TS
            elif t > latest_ts[i]:
                reason = _FUTURE
            elif not (
                np.isfinite(bid[i]) and np.isfinite(ask[i]) and np.isfinite(bid_size[i]) and np.isfinite(ask_size[i])
            ):
                reason = _NOT_FINITE
            elif min(bid[i], ask[i]) <= 0.0 or max(bid[i], ask[i]) > LARGEST_PRICE:
                reason = _BAD_PRICE
            elif bid_size[i] <= 0.0 or ask_size[i] <= 0.0:
                reason = _BAD_SIZE
            elif t < clock[0] or (row.rows > 0 and t < row.ts):
                reason = _LATE
            if reason != _USED:
                counts[reason] += 1
                if i < len(unused):
                    unused[i] = True
                continue
            touched[s // BLOCK] = True
            # Asked here, as the call alone costs as much as the rest of the row.
            if row.rows > 0 and (t >= row.next_decision or (row.next_mark != 0 and t >= row.next_mark)):
                n = _fire(events, n, s, row, interest[s], t, p, opens, closings, closes)
                if n < 0:
                    return i, -1 - n
            if p.marks == MARKS_EVERY and interest[s] != IGNORED and n == len(events):
                return i, n
            _apply(row, t, bid[i], bid_size[i], ask[i], ask_size[i], p)
            counts[_USED] += 1
            if bid[i] > ask[i]:
                counts[_CROSSED] += 1
            if p.marks == MARKS_EVERY:
                if interest[s] != IGNORED:
                    _emit(events, n, MARK, t, s, row, p, NO_SESSION, NEVER)
                    n += 1
            elif p.marks == MARKS_GRID and row.next_mark == 0:
                row.next_mark = (t // p.mark_ns + 1) * p.mark_ns
            if p.marks == MARKS_EVERY:
                continue
            # The symbol's own next rows, as long as they fire nothing, with its state in registers.
            if i + 1 >= prepared and i + LEAST_ROWS < stop and number[i + LEAST_ROWS] == s:
                first = until_row = i + 1
                while until_row < min(stop, first + len(weights)) and number[until_row] == s:
                    until_row += 1
                if until_row - first >= LEAST_ROWS:
                    prepared = first + prepare(
                        kind,
                        number,
                        ts,
                        latest_ts,
                        bid,
                        bid_size,
                        ask,
                        ask_size,
                        first,
                        until_row,
                        p.tau_ns,
                        p.gap_ns,
                        LATEST_TS,
                        LARGEST_PRICE,
                        weights,
                    )
            if i + 1 >= prepared:
                continue
            until = row.next_decision
            if row.next_mark != 0:
                until = min(until, row.next_mark)
            last, ema, var, used, crossed = t, row.ema, row.var, 0, 0
            for j in range(i + 1, prepared):
                t = ts[j]
                if t >= until:
                    break
                if t > last:
                    ema, var = weighted(weights[j - first], (bid[j] + ask[j]) * 0.5, ema, var)
                last = t
                used += 1
                crossed += bid[j] > ask[j]
            if used > 0:
                j = i + used
                row.rows += used
                row.ts = last
                row.bid = bid[j]
                row.bid_size = bid_size[j]
                row.ask = ask[j]
                row.ask_size = ask_size[j]
                row.ema = ema
                row.var = var
                counts[_USED] += used
                counts[_CROSSED] += crossed
                applied = j + 1
        elif what in (CLOCK, END_CLOCK):
            t = ts[i]
            feed = number[i]
            if t < EARLIEST_TS or t > LATEST_TS:
                counts[_BAD_TS] += 1
                continue
            if t > latest_ts[i]:
                counts[_FUTURE] += 1
                continue
            if feed_open[feed] and t < feed_ts[feed]:
                counts[_CLOCK_BACK] += 1
                continue
            clock[0], at_end = _feed_clock(clock[0], feed, t, what == END_CLOCK, feed_ts, feed_open, n_feeds)
            n = _fire_all(events, n, rows, n_symbols, interest, touched, clock[0], p, opens, closings, closes)
            if n < 0:
                return i, -1 - n
            if at_end:
                ended = _end_all(events, n, rows, n_symbols, interest, touched, clock[0], p, opens, closings, closes)
                if ended < 0:
                    return i, n if n > 0 else ended
                n = ended
            counts[_CLOCK] += 1
    return stop, n
