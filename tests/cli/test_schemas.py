"""The generated files under schemas."""

import json
from pathlib import Path

import pytest

from schemas import generate
from schemas.topics import TOPICS
from tests.deploy import published_schemas


def test_the_generated_files_are_up_to_date() -> None:
    assert generate.stale() == []


def test_writing_mends_what_is_stale_missing_or_left_over(tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "Gone.json").write_text("{}")
    written = generate.write(tmp_path)
    assert {"asyncapi.json", "json/Gone.json", "json/Trade.json"} <= set(written)
    assert not (tmp_path / "json" / "Gone.json").exists()
    (tmp_path / "json" / "Trade.json").write_text("{}")
    assert generate.write(tmp_path) == ["json/Trade.json"]
    assert generate.stale(tmp_path) == []


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = json.loads((generate.FOLDER / "asyncapi.json").read_text())
    assert set(document["channels"]) == set(TOPICS)
    for reference in _references(document):
        place = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


@pytest.mark.timeout(900)
def test_asyncapis_own_parser_accepts_the_document_and_refuses_what_is_wrong() -> None:
    document = json.loads((generate.FOLDER / "asyncapi.json").read_text())
    wrong = json.loads(json.dumps(document))
    wrong["components"]["messages"]["Trade"]["header"] = {}
    try:
        assert published_schemas.invalid_for_asyncapi(document) == []
        refused = published_schemas.invalid_for_asyncapi(wrong)
    except published_schemas.NoSchemas as error:
        pytest.skip(str(error))
    assert any("header" in line for line in refused)


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [reference for child in node.values() for reference in _references(child)]
    if isinstance(node, list):
        return [reference for child in node for reference in _references(child)]
    return []
