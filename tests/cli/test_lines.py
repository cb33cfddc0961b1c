"""Records as lines of JSON."""

import json
from types import SimpleNamespace

from agents.commands.lines import lines


def message(value: bytes | None, headers: list[tuple[str, bytes]] | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        key=lambda: b"AAPL", value=lambda: value, partition=lambda: 2, offset=lambda: 7, headers=lambda: headers
    )


def test_a_dead_letter_is_shown_with_its_reason() -> None:
    letter = message(b"{", [("mm_reason", "malformed: é".encode()), ("mm_offset", b"12")])
    assert [json.loads(line) for line in lines("dead-letters", letter)] == [
        {
            "partition": 2,
            "offset": 7,
            "headers": {"mm_reason": "malformed: é", "mm_offset": "12"},
            "key": "AAPL",
            "value": "{",
        }
    ]


def test_other_records_are_shown_as_they_are() -> None:
    assert list(lines("trades", message(b'{"id":"AAPL-1"}', [("ce_id", b"AAPL-1")]))) == [
        '{"partition":2,"offset":7,"key":"AAPL","value":{"id":"AAPL-1"}}'
    ]


def test_what_python_takes_for_json_and_others_do_not_is_shown_as_text() -> None:
    (line,) = lines("quotes", message(b'{"bid": NaN}'))
    assert json.loads(line)["value"] == '{"bid": NaN}'
