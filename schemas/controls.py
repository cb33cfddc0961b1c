"""Reading records of ``controls``, with errors that name the field: the same check for agents, CLI and dashboard."""

from __future__ import annotations

import re

import msgspec

from schemas.records import EVERY_SYMBOL, MAX_QUANTITY, Control, StarControl

_SYMBOL = re.compile(r"[!-~]{1,32}")
_EXPECTED = re.compile(r"Expected `([^`]+)`( [<>]=? \S+)?(?:, got `([^`]+)`)? - at `\$\.(\w+)`")
_WORDS = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "a text", "null": "empty"}
_DEFAULT_MIN_FILL_STEPS = 10
_control = msgspec.json.Decoder(Control)
_star = msgspec.json.Decoder(StarControl)


class InvalidControl(ValueError):
    """A record of ``controls`` that cannot hold; the text names what is wrong."""


def parse_control(key: bytes | None, value: bytes | None) -> tuple[str, Control | StarControl | None]:
    """Symbol (or ``*``) and control of one record; None for a tombstone. Raises InvalidControl."""
    symbol = check_symbol(key.decode(errors="replace") if key is not None else "")
    if value is None:
        return symbol, None
    if not value:
        raise InvalidControl("an empty value; a tombstone is a null value")
    try:
        return symbol, _star.decode(value) if symbol == EVERY_SYMBOL else _control.decode(value)
    except (ValueError, RecursionError) as error:
        raise InvalidControl(_in_words(str(error))) from error


def check_symbol(symbol: str) -> str:
    """The symbol itself. Raises InvalidControl unless it has 1 to 32 printable ASCII characters."""
    if not _SYMBOL.fullmatch(symbol):
        raise InvalidControl(f"the key must be a symbol of 1 to 32 printable ASCII characters, not {symbol[:40]!r}")
    return symbol


def make_control(**fields: object) -> Control:
    """A control from fields by name. Raises InvalidControl."""
    try:
        return msgspec.convert(fields, Control)
    except ValueError as error:
        raise InvalidControl(_in_words(str(error))) from error


def min_fill_shares(control: Control) -> float:
    """The smallest fill that may open or add. Above ``lot_shares`` nothing is ever opened, though positions close."""
    given = control.min_fill_shares
    return min(_DEFAULT_MIN_FILL_STEPS * control.size_step, MAX_QUANTITY) if given is None else given


def _in_words(error: str) -> str:
    """A decoder's error in an operator's words: the field first, then what it must be."""
    expected = _EXPECTED.fullmatch(error)
    if expected is not None:
        wanted, bound, got, field = expected.groups()
        must = " or ".join(_WORDS.get(kind, kind) for kind in wanted.split(" | "))
        return f"{field} must be {must}{bound or ''}" + (f", not {_WORDS.get(got, got)}" if got else "")
    what, at, field = error.partition(" - at `$.")
    return f"{field.rstrip('`')}: {what}" if at else error


def encode_control(control: Control | StarControl) -> bytes:
    """The record's value."""
    return msgspec.json.encode(control)
