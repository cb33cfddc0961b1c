"""Reading records of ``controls``, with errors that name the field: the same check for agents, CLI and dashboard."""

from __future__ import annotations

import re

import msgspec

from schemas.records import EVERY_SYMBOL, Control, StarControl

_SYMBOL = re.compile(r"[!-~]{1,32}")
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
        raise InvalidControl(str(error)) from error


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
        raise InvalidControl(str(error)) from error


def encode_control(control: Control | StarControl) -> bytes:
    """The record's value."""
    return msgspec.json.encode(control)
