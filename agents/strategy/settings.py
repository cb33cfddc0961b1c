"""The settings of the strategy, one frozen record with the same names wherever it is given."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.times import NS

DAY_NS = 86_400 * NS

Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
WholeSeconds = Annotated[int, Meta(ge=1, le=86_400)]


class Marks(StrEnum):
    """When ``ticks_bid_ask`` and ``preds`` are published."""

    GRID = "grid"
    EVERY = "every"
    OFF = "off"


class LimitRule(StrEnum):
    """What the position limit does to an order."""

    CLIP = "clip"
    OVERSHOOT = "overshoot"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the strategy is computed with.

    tau_seconds: time constant of the moving average and variance;
    band_sd: distance of the thresholds from the average, in standard deviations;
    decision_seconds, mark_seconds: the two grids of event time;
    warmup_seconds: age of a symbol's first quote before it may trade;
    gap_taus: a silence of more than this many time constants starts the warm-up again (None: never);
    max_quote_age_seconds: an older quote gives no trade (None: any age up to a day);
    future_seconds: how far a quote's ts may lie beyond its record's Kafka timestamp;
    marks: when marks are published; limit_rule: clip an order to the position limit, or fill whole lots past it;
    cap_by_size: fill at most the displayed size; fee_per_share: dollars; fee_bps: basis points of the turnover;
    session: code of an exchange calendar (None: always open); close_minutes: flatten this long before its close.
    """

    tau_seconds: Positive = 60.0
    band_sd: NonNegative = 1.0
    decision_seconds: WholeSeconds = 10
    mark_seconds: WholeSeconds = 1
    warmup_seconds: NonNegative = 60.0
    gap_taus: Positive | None = 5.0
    max_quote_age_seconds: Positive | None = 60.0
    future_seconds: NonNegative = 5.0
    marks: Marks = Marks.GRID
    limit_rule: LimitRule = LimitRule.CLIP
    cap_by_size: bool = False
    fee_per_share: NonNegative = 0.0
    fee_bps: NonNegative = 0.0
    session: str | None = None
    close_minutes: NonNegative = 10.0

    @classmethod
    def original(cls) -> Settings:
        """The behaviour of Deephaven's example where this project's differs."""
        return cls(gap_taus=None, max_quote_age_seconds=None, limit_rule=LimitRule.OVERSHOOT)

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that name these settings in published records."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:12]


def parse_setting(name: str, text: str) -> object:
    """The typed value of one setting from its text.

    Raises ValueError that names the setting, what was given and what is wanted.
    """
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    if name not in fields:
        raise ValueError(f"there is no setting {name!r}; there are {', '.join(fields)}")
    if text.lower() in ("none", "null"):
        raw: object = None
    else:
        raw = text
    try:
        return msgspec.convert(raw, fields[name].type, strict=False)
    except msgspec.ValidationError as error:
        kind = fields[name].type
        names = isinstance(kind, type) and issubclass(kind, StrEnum) and ", ".join(kind)
        raise ValueError(f"{name}={text}: {f'expected one of {names}' if names else error}") from error
