"""Settings and units of the reference implementation (see ``reference``)."""

from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]
SECOND = 1_000_000_000
UNITS_PER_SHARE = 100_000_000
STATES = ("ACTIVE", "REDUCING", "CLOSING", "HALTED")  # of a control, from lenient to strict


@dataclass(frozen=True)
class ReferenceSettings:
    """The settings of the strategy, by the names used everywhere; ``None`` switches a rule off."""

    tau_seconds: float = 60.0
    band_sd: float = 1.0
    decision_seconds: int = 10
    mark_seconds: int = 1
    marks: str = "grid"  # or "every" usable quote, or "off"
    warmup_seconds: float = 60.0
    gap_taus: float | None = 5.0
    max_quote_age_seconds: float | None = 60.0
    future_seconds: float = 5.0
    limit_rule: str = "clip"  # or "overshoot"
    cap_by_size: bool = False
    fee_per_share: float = 0.0
    fee_bps: float = 0.0
    session: str | None = None
    close_minutes: float = 10.0

    @classmethod
    def original(cls, **changes: Any) -> "ReferenceSettings":
        """What Deephaven's example does where it differs, with further ``changes``."""
        return cls(**{"gap_taus": None, "max_quote_age_seconds": None, "limit_rule": "overshoot", **changes})


def nanoseconds(seconds: float) -> int:
    """Seconds as a whole number of ns."""
    return round(seconds * SECOND)


def units(shares: float) -> int:
    """Shares as a whole number of 1e-8 shares."""
    return round(shares * UNITS_PER_SHARE)


def shares_of(quantity: int) -> float:
    """The reverse: one conversion to a float, one division."""
    return float(quantity) / UNITS_PER_SHARE


def sign(number: int) -> int:
    """-1, 0 or 1."""
    return (number > 0) - (number < 0)


def stricter(first: str, second: str) -> str:
    """The stricter of two control states: HALTED > CLOSING > REDUCING > ACTIVE."""
    return max(first, second, key=STATES.index)
