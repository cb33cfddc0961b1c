"""Fields of exchanges' messages, which may hold anything: what they should be, or `Garbage`."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson

from agents.feeds.exchanges.exchange import Garbage
from schemas.times import NS

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(?:Z|\+00:00)", re.ASCII)
_LONGEST_SHOWN = 60
# Not repr itself: of JSON that is nested deeply enough it fails with RecursionError.
_repr = reprlib.Repr()
_repr.maxlevel = 3
_repr.maxstring = _repr.maxlong = _repr.maxother = _LONGEST_SHOWN


def json_object(message: bytes) -> dict[str, Any]:
    """The JSON object that a message is."""
    try:
        value = orjson.loads(message)
    except ValueError as error:
        raise Garbage(f"not JSON: {error}") from error
    return mapping(value, "message")


def mapping(value: Any, what: str) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise Garbage(f"{what} is {shown(value)}, not an object")
    return value


def symbol_of(fields: Mapping[str, Any], name: str, symbols: Mapping[str, str]) -> str:
    """Our name of the pair that a field names."""
    pair = fields.get(name)
    symbol = symbols.get(pair) if isinstance(pair, str) else None
    if symbol is None:
        raise Garbage(f"{name} is {shown(pair)}, which was not asked for")
    return symbol


def positive(fields: Mapping[str, Any], name: str) -> float:
    """A price or a size: a finite number above 0, also written as text."""
    value = fields.get(name)
    number = math.nan
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
    if not 0 < number < math.inf:
        raise Garbage(f"{name} is {shown(value)}, not a number above 0")
    return number


def sides(
    fields: Mapping[str, Any], bid: str, bid_size: str, ask: str, ask_size: str
) -> tuple[float, float, float, float]:
    """Bid, its size, ask, its size, from the fields of those names."""
    return positive(fields, bid), positive(fields, bid_size), positive(fields, ask), positive(fields, ask_size)


def integer(fields: Mapping[str, Any], name: str) -> int:
    """A number that counts something."""
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Garbage(f"{name} is {shown(value)}, not an integer")
    return value


def time_ns(fields: Mapping[str, Any], name: str) -> int:
    """An RFC 3339 time in UTC as ns since the epoch, 0 where the field is missing."""
    value = fields.get(name)
    if value is None:
        return 0
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    seconds = _seconds(match[1]) if match else None
    if match is None or seconds is None:
        raise Garbage(f"{name} is {shown(value)}, not a time")
    return seconds * NS + int((match[2] or "0").ljust(9, "0"))


def said(value: Any) -> str:
    """What an exchange says to people, if it is text as it should be."""
    return value if isinstance(value, str) else shown(value)


def shown(value: Any) -> str:
    """A value as a message may show it."""
    text = _repr.repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


@lru_cache(maxsize=64)
def _seconds(text: str) -> int | None:
    """Seconds since the epoch; None for what is no time, or none that a ts can hold."""
    try:
        seconds = int(datetime.fromisoformat(text + "+00:00").timestamp())
    except ValueError:
        return None
    return seconds if 0 < seconds < 2**63 // NS else None
