"""The dashboard of metrics: valid for the Grafana of the composition, over metrics that there are."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import published_schemas

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/grafana"
BOARD: dict[str, Any] = json.loads((FOLDER / "dashboards/market-maker.json").read_text())
PANELS: list[dict[str, Any]] = BOARD["panels"]
ASKED = [target["expr"] for panel in PANELS for target in panel["targets"]]
SUBJECTS = {
    "lag": "mm_lag_records",
    "decision age": "mm_decision_age_seconds",
    "throughput": "mm_input_records_total",
    "commit time": "mm_commit_seconds_bucket",
    "trades": "mm_surveillance_window_trades",
    "pnl": "mm_surveillance_net",
    "dead letters": "dead_lettered",
}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_it_shows_what_an_operator_asks_for(subject: str) -> None:
    assert any(SUBJECTS[subject] in expression for expression in ASKED)


def test_it_asks_for_metrics_that_operations_lists() -> None:
    """Which other tests hold against what is served."""
    listed = re.findall("^[|] `(mm_[a-z_…]+)` [|]", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    known = "|".join(name.replace("…", "[a-z]+") for name in listed)
    for name in re.findall("mm_[a-z_]+", " ".join(ASKED)):
        assert re.fullmatch(known, name.removesuffix("_bucket")), name


def test_panels_have_numbers_and_places_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24 and not cells & taken, panel["title"]
        taken |= cells
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters), panel["title"]


def test_it_is_provisioned_with_the_source_that_it_names() -> None:
    (source,) = yaml.safe_load((FOLDER / "provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert all(panel["datasource"] == {"type": source["type"], "uid": source["uid"]} for panel in PANELS)
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert source["url"] == "http://prometheus:9090" and "prometheus" in services
    (provider,) = yaml.safe_load((FOLDER / "provisioning/dashboards/dashboards.yaml").read_text())["providers"]
    mounted = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert mounted["./deploy/grafana/dashboards"] == provider["options"]["path"]
    assert mounted["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"


def test_the_types_are_those_of_the_compositions_grafana() -> None:
    image = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]["image"]
    assert published_schemas.GRAFANA_PACKAGES[0].rpartition("@")[2] == image.rpartition(":")[2]


@pytest.mark.timeout(900)
def test_grafanas_types_accept_it_and_refuse_what_is_wrong() -> None:
    wrong = copy.deepcopy(BOARD)
    wrong["panels"][0]["notAField"] = 1
    wrong["panels"][1]["options"]["legend"]["displayMode"] = "lists"
    wrong["panels"][2]["fieldConfig"]["defaults"]["custom"]["lineWith"] = 1
    try:
        assert published_schemas.invalid_for_grafana(BOARD) == []
        refused = "\n".join(published_schemas.invalid_for_grafana(wrong))
    except published_schemas.NoSchemas as error:
        pytest.skip(str(error))
    for word in ("notAField", '"lists"', "lineWith"):
        assert word in refused
