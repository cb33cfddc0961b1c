"""Execution and portfolio of the reference implementation: what comes of signals, and what it is worth.

Quantities are ints in units of 1e-8 share, money is floats in dollars.
"""

import math
from dataclasses import dataclass, field

from tests.strategy.reference_settings import (
    UNITS_PER_SHARE,
    Record,
    ReferenceSettings,
    shares_of,
    sign,
    stricter,
    units,
)

SIDES = {"BUY": 1, "SELL": -1}
LARGEST_POSITION = 4 * 10**18  # units, either way


@dataclass
class Ledger:
    """Average-cost account of one symbol in dollars; ``position`` in units of 1e-8 share."""

    position: int = 0
    average_cost: float = 0.0
    cash: float = 0.0
    realised: float = 0.0
    fees: float = 0.0
    trades: int = 0

    @property
    def shares(self) -> float:
        """The signed position in shares."""
        return shares_of(self.position)

    def unrealised(self, mark: float) -> float:
        """What closing at ``mark`` would add to the realised."""
        return self.shares * (mark - self.average_cost)

    def net(self, mark: float) -> float:
        """Profit and loss after fees at ``mark``."""
        return self.realised + self.unrealised(mark) - self.fees

    def fill(self, side: int, quantity: int, price: float, fee: float) -> float:
        """Book ``quantity`` > 0 units bought (``side`` 1) or sold (-1); returns what the fill realised."""
        held, shares = abs(self.shares), shares_of(quantity)
        direction, position = sign(self.position), self.position + side * quantity
        realised = 0.0
        if direction in (0, side):
            self.average_cost = (held * self.average_cost + shares * price) / (held + shares)
        else:
            realised = min(shares, held) * (price - self.average_cost) * direction
            if sign(position) != direction:
                self.average_cost = price if position else 0.0
        self.position = position
        self.cash -= side * shares * price + fee
        self.realised += realised
        self.fees += fee
        self.trades += 1
        return realised


@dataclass
class Account:
    """What the execution agent keeps of one symbol."""

    ledger: Ledger = field(default_factory=Ledger)
    loss_latched_version: int | None = None

    def watch_loss(self, control: Record, mid: float) -> None:
        """Latch REDUCING for this version of the control when the net is below its loss limit."""
        limit, version, latched = control["max_loss_dollars"], control["version"], self.loss_latched_version
        if limit is not None and self.ledger.net(mid) < -limit and (latched is None or latched < version):
            self.loss_latched_version = version

    def state(self, control: Record) -> str:
        """The control's state, at least REDUCING while its loss limit has latched."""
        latched = self.loss_latched_version == control["version"]
        return stricter(control["state"], "REDUCING") if latched else control["state"]


@dataclass(frozen=True)
class Result:
    """What comes of a signal; ``side`` is 0 for none, ``quantity`` > 0 units for a fill."""

    outcome: str
    reason: str | None
    side: int = 0
    quantity: int = 0
    trade_reason: str | None = None


def refused(signal: Record, reason: str) -> Result:
    """REFUSED for ``reason``, or NONE with the signal's own reason when it asked for nothing."""
    if signal["verdict"] == "HOLD":
        return Result("NONE", signal["reason"])
    return Result("REFUSED", reason, SIDES[signal["verdict"]])


def price_of(signal: Record, side: int) -> float:
    """Buys at the ask, sells at the bid."""
    return float(signal["ask"] if side > 0 else signal["bid"])


def judge(signal: Record, account: Account, settings: ReferenceSettings) -> Result:
    """What the account does about a signal, the first rule that applies; only the loss latch changes."""
    control, position = signal["control"], account.ledger.position
    if signal["reason"] in ("END", "REMOVED"):
        return Result("NONE", signal["reason"])
    if control is None:
        return refused(signal, "NO_CONTROL")
    account.watch_loss(control, signal["mid"])
    state = account.state(control)
    if state == "HALTED":
        return refused(signal, "HALTED")
    if signal["session"] == "CLOSED":
        return refused(signal, "SESSION")
    if state == "CLOSING" or signal["session"] == "CLOSING":
        if position == 0:
            return refused(signal, "REDUCING" if state == "CLOSING" else "SESSION")
        trade_reason = "CLOSING" if state == "CLOSING" else "SESSION_CLOSE"
        return Result("FILLED", None, -sign(position), abs(position), trade_reason)
    if signal["verdict"] == "HOLD":
        return Result("NONE", signal["reason"])
    if settings.limit_rule == "overshoot":
        return judge_overshoot(signal, account)
    return judge_clip(signal, account, settings)


def judge_overshoot(signal: Record, account: Account) -> Result:
    """The original's limit: tested before a whole lot is added; SELL is tried when the limit blocks BUY."""
    control = signal["control"]
    limit, exposure = control["max_position_dollars"], account.ledger.shares * signal["mid"]
    position, lot = account.ledger.position, units(control["lot_shares"])
    if signal["verdict"] == "BUY" and exposure < limit and position + lot <= LARGEST_POSITION:
        return Result("FILLED", None, 1, lot, "SIGNAL")
    if signal["sell"] and exposure > -limit and position - lot >= -LARGEST_POSITION:
        return Result("FILLED", None, -1, lot, "SIGNAL")
    return refused(signal, "LIMIT")


def judge_clip(signal: Record, account: Account, settings: ReferenceSettings) -> Result:
    """The exact limit: as much of the lot as the limit, the displayed size and the control leave.

    ``bound`` names what made the quantity smaller than the lot, the last cap to bite.
    """
    control, side, position = signal["control"], SIDES[signal["verdict"]], account.ledger.position
    price, step = price_of(signal, side), units(control["size_step"])
    whole_lot = lot = units(control["lot_shares"]) // step * step
    bound = None
    if settings.cap_by_size:
        displayed = signal["ask_size"] if side > 0 else signal["bid_size"]
        lot = math.floor(min(lot, displayed * UNITS_PER_SHARE)) // step * step
        bound = "NO_SIZE" if lot < whole_lot else None
    steps = control["max_position_dollars"] / price / control["size_step"]
    room = math.floor(min(steps, LARGEST_POSITION / step)) * step - side * position
    bound = "LIMIT" if room < lot else bound
    quantity = max(0, min(lot, room) // step * step)

    if side < 0 and not control["allow_short"] and quantity > max(position, 0):
        quantity, bound = max(position, 0), "SHORT"
        if quantity == 0:
            return refused(signal, "SHORT")
    towards_flat = sign(position) == -side
    if account.state(control) == "REDUCING":
        reducing = "REDUCING" if control["state"] == "REDUCING" else "LOSS"
        if not towards_flat:
            return refused(signal, reducing)
        if quantity > abs(position):
            quantity, bound = abs(position), reducing
    if quantity == 0:
        return refused(signal, "LIMIT" if lot else "NO_SIZE")
    opens = not towards_flat or quantity > abs(position)
    if opens and quantity < units(control["min_fill_shares"]):
        return refused(signal, "LIMIT" if room < lot else "DUST")
    return Result("FILLED" if quantity == whole_lot else "CLIPPED", bound, side, quantity, "SIGNAL")


class Desk:
    """The execution and portfolio agents of one partition: one signal after the other, by symbol."""

    def __init__(self, settings: ReferenceSettings) -> None:
        self.settings = settings
        self.accounts: dict[str, Account] = {}
        self.executions: list[Record] = []
        self.trades: list[Record] = []
        self.positions: dict[str, Record] = {}
        self.pnl: dict[str, Record] = {}

    def execute(self, signal: Record) -> None:
        """The execution and portfolio agents: what comes of one signal."""
        account = self.accounts.setdefault(signal["symbol"], Account())
        before, control = account.ledger.shares, signal["control"]
        result = judge(signal, account, self.settings)
        trade = self._fill(signal, account, result) if result.quantity else None
        self.executions.append(
            {
                "symbol": signal["symbol"],
                "ts": signal["ts"],
                "quote_ts": signal["quote_ts"],
                "outcome": result.outcome,
                "reason": result.reason,
                "side": {1: "BUY", -1: "SELL", 0: None}[result.side],
                "shares": trade["shares"] if trade else 0.0,
                "price": trade["price"] if trade else math.nan,
                "fee": trade["fee"] if trade else 0.0,
                "position_before": before,
                "position_after": account.ledger.shares,
                "mid": signal["mid"],
                "control_version": control and control["version"],
                "trade_id": trade["id"] if trade else None,
            }
        )
        self._publish_account(signal, account)

    def _fill(self, signal: Record, account: Account, result: Result) -> Record:
        """Book a fill and publish its trade."""
        price, shares = price_of(signal, result.side), shares_of(result.quantity)
        fee = shares * self.settings.fee_per_share + shares * price * self.settings.fee_bps / 10_000
        realised = account.ledger.fill(result.side, result.quantity, price, fee)
        trade = {
            "id": f"{signal['symbol']}-{signal['ts']}",
            "symbol": signal["symbol"],
            "ts": signal["ts"],
            "quote_ts": signal["quote_ts"],
            "side": "BUY" if result.side > 0 else "SELL",
            "shares": shares,
            "price": price,
            "fee": fee,
            "position_after": account.ledger.shares,
            "realised": realised,
            "reason": result.trade_reason,
            "control_version": signal["control"]["version"],
        }
        self.trades.append(trade)
        return trade

    def _publish_account(self, signal: Record, account: Account) -> None:
        """The symbol's rows of ``positions`` and ``pnl`` after a signal, marked at the signal's mid."""
        ledger, control, mark = account.ledger, signal["control"], signal["mid"]
        holding = {
            "symbol": signal["symbol"],
            "ts": signal["ts"],
            "shares": ledger.shares,
            "average_cost": ledger.average_cost,
            "realised": ledger.realised,
            "fees": ledger.fees,
        }
        self.positions[signal["symbol"]] = holding | {
            "cash": ledger.cash,
            "trades": ledger.trades,
            "state": control and account.state(control),
            "control_version": control and control["version"],
            "loss_latched_version": account.loss_latched_version,
        }
        self.pnl[signal["symbol"]] = holding | {
            "unrealised": ledger.unrealised(mark),
            "net": ledger.net(mark),
            "mark": mark,
            "mark_ts": signal["quote_ts"],
            "exposure": ledger.shares * mark,
        }
