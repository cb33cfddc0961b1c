"""Prometheus' alerts: each is told on the page of operations, over metrics that there are, and fires when it should."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.manifests import documents
from tests.docs.test_pages import OPERATIONS, rows

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/prometheus"
GROUPS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
RULES = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}


def test_the_page_of_operations_tells_every_alert_with_its_severity() -> None:
    told = {row[0].split("`")[0]: row[0] for row in rows(OPERATIONS, "Metrics", "alert ")}
    assert told.keys() == RULES.keys()
    for name, rule in RULES.items():
        assert ("(critical)" in told[name]) == (rule["labels"]["severity"] == "critical"), name


def test_they_ask_for_metrics_that_the_page_lists() -> None:
    listed = set(re.findall("^[|] `(mm_[a-z_]+)` [|]", OPERATIONS, re.MULTILINE))
    for rule in RULES.values():
        asked = set(re.findall("mm_[a-z_]+", rule["expr"]))
        assert asked and asked <= listed, rule["alert"]


def test_the_composition_and_kubernetes_have_the_same() -> None:
    (loaded,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["rule_files"]
    assert loaded == "/etc/prometheus/alerts.yml"  # where the composition puts the folder
    (rule,) = [item for item in documents()["monitoring.yaml"] if item["kind"] == "PrometheusRule"]
    assert rule["spec"]["groups"] == GROUPS


SIGNALS = '{role="signals", instance_name="0"}'
QUIET = {
    **{f'mm_ready{{role="{role}", instance_name="0"}}': "1x40" for role in ("signals", "execution", "portfolio")},
    "mm_surveillance_ready": "1x40",
    f"mm_lag_records{SIGNALS}": "20x40",
    f"mm_last_commit_timestamp_seconds{SIGNALS}": "0+60x40",
    f"mm_decision_age_seconds{SIGNALS}": "0.05x40",
    f"mm_transactions_total{SIGNALS}": "0+600x40",
    f"mm_transactions_aborted_total{SIGNALS}": "3x40",
    'mm_rows_total{role="signals", partition="0", result="dead_lettered"}': "7x40",
    'mm_rows_total{role="signals", partition="0", result="late"}': "7x40",
    'mm_surveillance_open_alerts{rule="jump", severity="WARNING"}': "1x40",
}
"""A desk by the minute on which nothing is wrong: at work, with some bad records of earlier."""
TROUBLE = {
    "NobodyReady": {'mm_ready{role="signals", instance_name="0"}': "1x10 0x30"},
    "LagGrows": {f"mm_lag_records{SIGNALS}": "20+5000x40"},
    "NothingCommitted": {f"mm_last_commit_timestamp_seconds{SIGNALS}": "600x40"},
    "DecisionsLate": {f"mm_decision_age_seconds{SIGNALS}": "5x40"},
    "TransactionsAborted": {f"mm_transactions_aborted_total{SIGNALS}": "3+1x40"},
    "DeadLetters": {'mm_rows_total{role="signals", partition="0", result="dead_lettered"}': "7+1x40"},
    "QuotesOutOfTime": {'mm_rows_total{role="signals", partition="0", result="late"}': "7+1x40"},
    "NobodyWatches": {"mm_surveillance_ready": "1x10 _x30"},
    "DeskCritical": {'mm_surveillance_open_alerts{rule="drawdown", severity="CRITICAL"}': "1x40"},
}
NO_TROUBLE = {
    "one agent more than partitions": {'mm_ready{role="signals", instance_name="spare"}': "0x40"},
    "no quotes for half an hour": {
        f"mm_last_commit_timestamp_seconds{SIGNALS}": "600x40",
        f"mm_lag_records{SIGNALS}": "0x40",
        f"mm_transactions_total{SIGNALS}": "900x40",
        f"mm_decision_age_seconds{SIGNALS}": "5x40",  # of the last commit
    },
    "a backlog that is worked off": {f"mm_lag_records{SIGNALS}": "900000-20000x40"},
}


def test_each_fires_in_its_trouble_alone_and_none_when_all_is_well(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool, which tries Prometheus' rules")
    assert TROUBLE.keys() == RULES.keys()
    cases = [("all is well", {}, None)]
    cases += [(name, changed, name) for name, changed in TROUBLE.items()]
    cases += [(name, changed, None) for name, changed in NO_TROUBLE.items()]
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [{"series": key, "values": value} for key, value in (QUIET | changed).items()],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": "30m",
                    "exp_samples": [{"labels": f'{{alertname="{fires}"}}', "value": 1}] if fires else [],
                }
            ],
        }
        for name, changed, fires in cases
    ]
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(FOLDER / "alerts.yml")], "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
