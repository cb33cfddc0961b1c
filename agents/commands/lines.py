"""Records of any topic as lines of JSON, for people and for other programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from schemas.topics import DEAD_LETTERS, MOMENTS, QUOTES

_FRAME_FIRST_BYTE = 0xFF


def lines(topic: str, message: Any, symbol: str | None = None) -> Iterator[str]:
    """The lines of one record: one, but for a frame of quotes, which gives one for each row.

    topic: its plain name; symbol: only what belongs to this key.
    """
    key, value = message.key(), message.value()
    if topic == QUOTES.name and value and value[0] == _FRAME_FIRST_BYTE:
        rows = _rows_of_frame(value)
    else:
        rows = [(_text(key), _summary(value) if topic == MOMENTS.name else _json(value))]
    for row_key, row in rows:
        if symbol is None or row_key == symbol:
            at = f'"partition":{message.partition()},"offset":{message.offset()}'
            if topic == DEAD_LETTERS.name:
                at += f',"headers":{_headers(message)}'
            yield f'{{{at},"key":{json.dumps(row_key)},"value":{row}}}'


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="replace")


def _headers(message: Any) -> str:
    """Where a record came from, and why it could not be used."""
    return json.dumps({name: _text(value) for name, value in message.headers() or ()})


def _json(value: bytes | None) -> str:
    """The value as it is where it is JSON on one line, else as a JSON string."""
    if value is None:
        return "null"
    try:
        decoded = json.loads(value, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return json.dumps(_text(value))
    text = value.decode()
    return json.dumps(decoded) if "\n" in text or "\r" in text else text


def _no_json(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity, which Python takes and JSON does not have


def _rows_of_frame(value: bytes) -> list[tuple[str | None, str]]:
    from schemas.frames import FrameError, decode_frame

    try:
        batches = decode_frame(value)
    except FrameError as error:
        return [(None, json.dumps(f"{len(value)} bytes, {error}"))]
    names = ("bid", "bid_size", "ask", "ask_size")
    rows: list[tuple[str | None, str]] = []
    for symbols, numbers, ts, prices in batches:
        for number, time, *row in zip(numbers.tolist(), ts.tolist(), *(p.tolist() for p in prices), strict=True):
            quote = {"symbol": symbols[number], "ts": time, **dict(zip(names, row, strict=True))}
            rows.append((symbols[number], json.dumps(quote, separators=(",", ":"))))
    return rows


def _summary(value: bytes | None) -> str:
    """Of a block of the signals agent's table."""
    import msgspec

    if value is None:
        return "null"
    try:
        symbols = msgspec.msgpack.decode(value)[0]
    except (msgspec.DecodeError, LookupError, TypeError):
        symbols = None
    return json.dumps({"symbols": symbols, "bytes": len(value)})
