"""JSON Schema of every record and one AsyncAPI document, made from `records` and `topics`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from schemas import records
from schemas.frames import QUOTE_FRAME
from schemas.topics import (
    ALERTS,
    CONTROLS,
    DEAD_LETTERS,
    EXECUTIONS,
    MOMENTS,
    ORDERS,
    PNL,
    POSITIONS,
    PREDS,
    QUOTES,
    SIGNALS,
    TICKS_BID_ASK,
    TOPICS,
    TRADES,
    Topic,
)

FOLDER = Path(__file__).parent
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ALSO = {QUOTES.name: (records.Clock,), CONTROLS.name: (records.StarControl,)}
"""What a topic carries beside its main record."""
_NOT_JSON = {
    DEAD_LETTERS.name: ("A record that could not be used, as it came; the headers mm_* say why.", "*/*"),
    MOMENTS.name: ("Internal: a block of the signals agent's table.", "application/msgpack"),
}

_EVENTS = (SIGNALS, EXECUTIONS, TRADES, ORDERS, POSITIONS, PNL, ALERTS)
"""Topics whose records have the headers of `events.headers`."""
_CONTENT_TYPE = {"content-type": {"const": "application/json"}}
_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_WHY_DEAD = {
    **dict.fromkeys(("mm_topic", "mm_partition", "mm_offset", "mm_reason", "mm_agent"), _TEXT),
    "mm_time": _TIME,
    "mm_truncated": {**_TEXT, "description": "Bytes that the record had; absent where it is whole."},
    "mm_key_truncated": {**_TEXT, "description": "Bytes that the key had; absent where it is whole."},
}


def files() -> dict[str, str]:
    """Content of every generated file, by its path below `schemas`."""
    wanted = {f"json/{kind.__name__}.json": _schema(kind) for topic in TOPICS.values() for kind in _kinds(topic)}
    return {
        name: json.dumps(content, indent=2) + "\n" for name, content in {**wanted, "asyncapi.json": _asyncapi()}.items()
    }


def stale(folder: Path = FOLDER) -> list[str]:
    """Names of the generated files that differ from what they should be, left-over ones included."""
    wanted = files()
    present = {f"json/{path.name}" for path in (folder / "json").glob("*.json")}
    differing = {name for name, content in wanted.items() if _content(folder / name) != content}
    return sorted(differing | (present - set(wanted)))


def write(folder: Path = FOLDER) -> list[str]:
    """Bring all files up to date; names of those that were not."""
    changed = stale(folder)
    wanted = files()
    (folder / "json").mkdir(parents=True, exist_ok=True)
    for name in changed:
        if name in wanted:
            (folder / name).write_text(wanted[name])
        else:
            (folder / name).unlink()
    return changed


def _content(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _kinds(topic: Topic) -> tuple[type, ...]:
    return ((topic.record,) if topic.record is not None else ()) + _ALSO.get(topic.name, ())


def _schema(kind: type) -> dict[str, Any]:
    return {"$schema": _DIALECT, "title": kind.__name__, **_standing_alone(kind)}


def _standing_alone(kind: type) -> dict[str, Any]:
    """One record's schema, with its main part at the top and the rest under $defs."""
    (_,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    main = dict(parts.pop(kind.__name__))
    return {**main, "$defs": parts} if parts else main


def _asyncapi() -> dict[str, Any]:
    kinds = {kind: None for topic in TOPICS.values() for kind in _kinds(topic)}
    _, parts = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Market maker",
            "version": "1",
            "description": "The topics of the market maker. Names may carry a prefix (MM_PREFIX).",
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS.values()},
        "operations": {f"{topic.name}.write": _operation(topic) for topic in TOPICS.values()},
        "components": {
            "schemas": parts,
            "messages": _messages(),
        },
    }


def _channel(topic: Topic) -> dict[str, Any]:
    names = [kind.__name__ for kind in _kinds(topic)] or [topic.name]
    if topic is QUOTES:
        names.append("QuoteFrame")
    return {
        "address": topic.name,
        "description": f"Key: {topic.key}. Only writer: {topic.writer}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {"kafka": {"topicConfiguration": _topic_settings(topic)}},
    }


def _topic_settings(topic: Topic) -> dict[str, Any]:
    """The settings that AsyncAPI's Kafka binding knows, in its types."""
    settings = topic.settings
    known: dict[str, Any] = {"cleanup.policy": [settings["cleanup.policy"]]}
    numbers = ("retention.ms", "retention.bytes", "delete.retention.ms", "max.message.bytes")
    return known | {name: int(settings[name]) for name in numbers if name in settings}


def _operation(topic: Topic) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "summary": f"Written by: {topic.writer}.",
    }


def _messages() -> dict[str, Any]:
    made = {kind.__name__: _message(kind, _headers(topic)) for topic in TOPICS.values() for kind in _kinds(topic)}
    return made | _other_messages()


def _message(kind: type, headers: dict[str, Any] | None) -> dict[str, Any]:
    message = {
        "name": kind.__name__,
        "summary": " ".join((kind.__doc__ or "").split()),
        "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
    }
    return message if headers is None else {**message, "headers": headers}


def _headers(topic: Topic) -> dict[str, Any] | None:
    """What the headers of a topic's records are; None where it is left to the writer."""
    if topic in (TICKS_BID_ASK, PREDS):
        return _object(_CONTENT_TYPE)
    if topic not in _EVENTS or topic.record is None:
        return None
    kind = topic.record.__name__.lower()
    own = {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {**_TEXT, "description": "With ce_source it names one event, also where that is published again."},
        "ce_source": {"const": f"/market-maker/{topic.writer}/{kind}"},
        "ce_type": {"const": f"market-maker.{kind}"},
        "ce_time": {**_TIME, "description": "The event's, as in the record."},
    }
    return _object({**own, **_CONTENT_TYPE})


def _object(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def _other_messages() -> dict[str, Any]:
    columns = ", ".join(f"{field.name} {field.type}" for field in QUOTE_FRAME)
    frame = {
        "name": "QuoteFrame",
        "summary": f"Many quotes of one partition as an Arrow IPC stream: {columns}.",
        "contentType": "application/vnd.apache.arrow.stream",
    }
    others: dict[str, dict[str, Any]] = {
        name: {"name": name, "summary": summary, "contentType": content_type}
        for name, (summary, content_type) in _NOT_JSON.items()
    }
    others[DEAD_LETTERS.name]["headers"] = _object(_WHY_DEAD, optional=("mm_truncated", "mm_key_truncated"))
    return {"QuoteFrame": frame, **others}
