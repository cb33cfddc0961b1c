"""Headers of published records: CloudEvents' binary form for Kafka."""

from __future__ import annotations

from functools import cache

CONTENT_TYPE = ("content-type", b"application/json")
CONTENT_TYPE_ONLY = [CONTENT_TYPE]
"""Headers of the topics with very many records."""


def decision_id(symbol: str, ts: int, reason: str | None) -> str:
    """Id of what belongs to one decision; the last one of a feed may share its ts with a decision of the grid."""
    return f"{symbol}-{ts}-END" if reason == "END" else f"{symbol}-{ts}"


def headers(kind: str, source: str, event_id: str, time: str) -> list[tuple[str, bytes]]:
    """Headers of one record. kind: the record's name; source: the role; time: RFC 3339, the event time."""
    specversion, origin, what = _constant(kind, source)
    return [
        specversion,
        ("ce_id", event_id.encode()),
        origin,
        what,
        ("ce_time", time.encode()),
        CONTENT_TYPE,
    ]


@cache
def _constant(kind: str, source: str) -> tuple[tuple[str, bytes], tuple[str, bytes], tuple[str, bytes]]:
    return (
        ("ce_specversion", b"1.0"),
        # With the kind: a trade has the id of its execution, and source and id together must name one event.
        ("ce_source", f"/market-maker/{source}/{kind}".encode()),
        ("ce_type", f"market-maker.{kind}".encode()),
    )
