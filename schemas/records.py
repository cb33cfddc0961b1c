"""One typed record per topic: the contract with other programs.

Times are integer nanoseconds since the epoch (UTC) and called ``ts``; prices are in dollars (or the quote
currency), quantities in shares (or coins). Unknown numbers are ``None`` and appear as ``null``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

Symbol = Annotated[str, Meta(min_length=1, max_length=32, pattern=r"^[!-~]+$")]
Ts = Annotated[int, Meta(description="nanoseconds since the epoch, UTC")]
NonNegative = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]

LARGEST_NUMBER = 1e15
MAX_QUANTITY = 1e10
"""Bound on dollars and shares in a control, so that 64-bit integers of units cannot overflow."""
Number = Annotated[float, Meta(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]
Price = Annotated[float, Meta(gt=0, le=LARGEST_NUMBER)]
Step = Annotated[float, Meta(ge=1e-8, le=MAX_QUANTITY)]
Limit = Annotated[float, Meta(ge=0, le=MAX_QUANTITY)]
Shares = Annotated[float, Meta(ge=-9.2e10, le=9.2e10)]  # in units, below 2**63
Int64 = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Ts64 = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1, description="nanoseconds since the epoch, UTC")]
Text = Annotated[str, Meta(max_length=200)]
"""What agents read from each other is bounded, so that no record, whoever wrote it, can spoil a table for good."""

UNITS_PER_SHARE = 100_000_000
"""Quantities are computed as integers of this many units a share, so that fractional lots stay exact."""

EVERY_SYMBOL = "*"
"""The key of a control that bounds every symbol."""


class State(StrEnum):
    """What an operator allows for a symbol, from the loosest to the strictest."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    CLOSING = "CLOSING"
    HALTED = "HALTED"


class Verdict(StrEnum):
    """What the strategy wants to do at a decision time."""

    HOLD = "HOLD"
    BUY = "BUY"
    SELL = "SELL"


class SignalReason(StrEnum):
    """Why a signal holds, or why it was published beside the decision grid."""

    WARMUP = "WARMUP"
    STALE = "STALE"
    REMOVED = "REMOVED"
    END = "END"


class SessionState(StrEnum):
    """Where a decision time lies in the exchange's trading day."""

    OPEN = "OPEN"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"


class Outcome(StrEnum):
    """What came of a signal."""

    NONE = "NONE"
    FILLED = "FILLED"
    CLIPPED = "CLIPPED"
    REFUSED = "REFUSED"


class OutcomeReason(StrEnum):
    """Why a signal was clipped, refused or came to nothing."""

    # Their order is that of the execution kernel's numbers.

    WARMUP = "WARMUP"
    STALE = "STALE"
    REMOVED = "REMOVED"
    END = "END"
    LIMIT = "LIMIT"
    DUST = "DUST"
    NO_CONTROL = "NO_CONTROL"
    HALTED = "HALTED"
    REDUCING = "REDUCING"
    SHORT = "SHORT"
    NO_SIZE = "NO_SIZE"
    SESSION = "SESSION"
    LOSS = "LOSS"


class Side(StrEnum):
    """The side of a trade, from the market maker's point of view."""

    BUY = "BUY"
    SELL = "SELL"


class TradeReason(StrEnum):
    """What caused a trade."""

    SIGNAL = "SIGNAL"
    CLOSING = "CLOSING"
    SESSION_CLOSE = "SESSION_CLOSE"


class AlertState(StrEnum):
    """Whether an alert opens or ends a condition."""

    RAISED = "RAISED"
    CLEARED = "CLEARED"


class Severity(StrEnum):
    """How soon a person should look at an alert."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every published record."""


class Quote(Record):
    """Best bid and ask of a symbol."""

    symbol: Symbol
    ts: Ts
    bid: float
    bid_size: float
    ask: float
    ask_size: float
    exchange_ts: Ts | UnsetType = UNSET


MAX_FEED_CHARACTERS = 64
"""Bound on the name of a feed, as every checkpoint carries those of all; clocks with a longer one are set aside."""
FeedName = Annotated[str, Meta(max_length=MAX_FEED_CHARACTERS)]


class Clock(Record):
    """A feed's promise that no quote of its with a smaller ``ts`` follows; one to each partition of quotes."""

    clock: Ts
    feed: FeedName = ""
    end: bool = False


class Control(Record, forbid_unknown_fields=True):
    """What an operator allows for one symbol; always whole, never a patch."""

    max_position_dollars: NonNegative
    lot_shares: Positive = 100.0
    size_step: Positive = 1.0
    min_fill_shares: NonNegative | None = None
    max_loss_dollars: Positive | None = None
    allow_short: bool = True
    state: State = State.ACTIVE
    effective_from: Ts64 | None = None

    def __post_init__(self) -> None:
        for name in (
            "max_position_dollars",
            "lot_shares",
            "size_step",
            "min_fill_shares",
            "max_loss_dollars",
        ):
            value = getattr(self, name)
            if value is not None and not value < MAX_QUANTITY:
                raise ValueError(f"{name} must be below {MAX_QUANTITY:.0e}")
        units = self.size_step * UNITS_PER_SHARE
        if units < 1 or abs(units - round(units)) > 1e-6 * units:
            raise ValueError("size_step must be a multiple of 0.00000001")
        if self.lot_shares < self.size_step:
            raise ValueError("lot_shares must be at least one size_step")


class StarControl(Record, forbid_unknown_fields=True):
    """What an operator allows for all symbols at once (key ``*``)."""

    state: State
    effective_from: Ts64 | None = None


class ControlInForce(Record):
    """The control that holds for a symbol at a decision time, with ``*`` applied."""

    version: Int64
    star_version: Int64 | None
    max_position_dollars: Limit
    lot_shares: Limit
    size_step: Step
    min_fill_shares: Limit
    max_loss_dollars: Limit | None
    allow_short: bool
    state: State


class TickBidAsk(Record):
    """The last quote of a symbol of the universe at a mark."""

    symbol: str
    ts: Ts
    bid: float
    bid_size: float
    ask: float
    ask_size: float


class Pred(Record):
    """The prediction of a symbol at a mark: moving average, deviation and the two thresholds."""

    symbol: str
    ts: Ts
    bid: float
    ask: float
    mid: float
    ema: float
    sd: float | None
    buy_below: float | None
    sell_above: float | None
    warm: bool


class Signal(Record):
    """The verdict for a symbol at a decision time, with everything it was based on."""

    symbol: Symbol
    ts: Ts64
    time: Text
    quote_ts: Ts64
    bid: Price
    bid_size: float
    ask: Price
    ask_size: float
    mid: Price
    ema: float
    sd: float | None
    buy_below: float | None
    sell_above: float | None
    buy: bool
    sell: bool
    verdict: Verdict
    reason: SignalReason | None
    session: SessionState | None
    control: ControlInForce | None
    settings: Text


class Execution(Record):
    """What came of one signal."""

    symbol: Symbol
    ts: Ts64
    time: Text
    quote_ts: Ts64
    outcome: Outcome
    reason: OutcomeReason | None
    side: Side | None
    shares: Shares
    price: Price | None
    fee: Number
    position_before: Shares
    position_after: Shares
    mid: Price
    control_version: Int64 | None
    trade_id: Text | None


class Trade(Record):
    """One simulated fill; ``id`` is the symbol and the decision time, so a decision cannot trade twice."""

    id: str
    symbol: str
    ts: Ts
    time: str
    quote_ts: Ts
    side: Side
    shares: float
    price: float
    fee: float
    position_after: float
    realised: float
    reason: TradeReason
    control_version: int
    settings: str


class Order(Record):
    """The latest signal and execution of a symbol in one row."""

    symbol: str
    ts: Ts
    time: str
    verdict: Verdict
    reason: SignalReason | None
    outcome: Outcome
    outcome_reason: OutcomeReason | None
    position: float
    room_dollars: float | None
    state: State | None
    bid: float
    ask: float
    buy_below: float | None
    sell_above: float | None


class Position(Record):
    """The ledger of a symbol after its latest signal; also the execution agent's table."""

    symbol: str
    ts: Ts
    time: str
    shares: float
    average_cost: float
    cash: float
    realised: float
    fees: float
    trades: int
    state: State | None
    control_version: int | None
    loss_latched_version: int | None = None


class Pnl(Record):
    """Profit and loss of a symbol at its latest mark; also the portfolio agent's table."""

    symbol: str
    ts: Ts
    time: str
    shares: float
    average_cost: float
    realised: float
    unrealised: float
    fees: float
    net: float
    mark: float
    mark_ts: Ts
    exposure: float


class Alert(Record):
    """Something a person should look at."""

    id: str
    ts: Ts
    time: str
    symbol: str | None
    rule: str
    severity: Severity
    value: float | None
    threshold: float | None
    window_start: Ts | None
    window_seconds: float | None
    state: AlertState
    text: str


class Checkpoint(Record):
    """How far one role has come on one partition; written in every transaction of that role."""

    role: str
    partition: int
    offset: Annotated[int, Meta(description="the next input offset to read")]
    time: str
    counters: dict[str, int]
    instance: str
    progress: Annotated[Any, Meta(description="what else the role keeps; its own affair")] = None
    state_version: Annotated[int, Meta(description="form of progress and of the role's table; higher is newer")] = 1
