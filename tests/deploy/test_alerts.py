"""Prometheus' alerts: each is told on the page of operations, over metrics that there are, and fires when it should."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.manifests import documents
from tests.deploy import published_schemas
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


def test_a_text_names_labels_that_its_alert_has() -> None:
    """`absent` has the labels of a bare selector only, and a sum those that it is made by."""
    for name, rule in RULES.items():
        for label in re.findall(r"[$]labels[.]([a-z_]+)", rule["annotations"]["summary"]):
            for part in rule["expr"].split(" or "):
                summed = re.search(r"\bby \(([^)]*)\)", part)
                missing = re.search(r"\babsent\((.*)\)$", part)
                if missing is not None:
                    assert re.fullmatch(rf'mm_[a-z_]+\{{{label}="[a-z]+"\}}', missing[1]), name
                elif summed is not None:
                    assert label in summed[1].split(", "), name
                else:
                    assert label in ("role", "instance_name") and "mm_surveillance" not in part, name


SIGNALS = '{role="signals", instance_name="0"}'
SECOND = '{role="signals", instance_name="1"}'
QUIET = {
    **{
        f'{metric}{{role="{role}", instance_name="0"}}': "1x40"
        for role in ("signals", "execution", "portfolio")
        for metric in ("mm_ready", "mm_partitions")
    },
    "mm_surveillance_ready": "1x40",
    "mm_surveillance_judged_timestamp_seconds": "0+60x40",
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
    "NobodyReady": {f"mm_ready{SIGNALS}": "1x10 0x30", f"mm_partitions{SIGNALS}": "1x10 0x30"},
    "NotReady": {f"mm_ready{SECOND}": "1x10 0x30", f"mm_partitions{SECOND}": "6x40"},
    "LagGrows": {f"mm_lag_records{SIGNALS}": "20+5000x40"},
    "NothingCommitted": {f"mm_last_commit_timestamp_seconds{SIGNALS}": "600x40"},
    "DecisionsLate": {f"mm_decision_age_seconds{SIGNALS}": "5x40"},
    "TransactionsAborted": {f"mm_transactions_aborted_total{SIGNALS}": "3+1x40"},
    "DeadLetters": {'mm_rows_total{role="signals", partition="0", result="dead_lettered"}': "7+1x40"},
    "QuotesOutOfTime": {'mm_rows_total{role="signals", partition="0", result="late"}': "7+1x40"},
    "SurveillanceBehind": {"mm_surveillance_judged_timestamp_seconds": "0+60x10 600x30"},
    "NobodyWatches": {"mm_surveillance_ready": "1x10 _x30"},
    "DeskCritical": {'mm_surveillance_open_alerts{rule="drawdown", severity="CRITICAL"}': "1x40"},
}
NO_TROUBLE = {
    "one agent more than partitions": {
        'mm_ready{role="signals", instance_name="spare"}': "0x40",
        'mm_partitions{role="signals", instance_name="spare"}': "0x40",
    },
    "one instance of surveillance more than partitions": {
        'mm_surveillance_ready{instance="spare"}': "0x40",
        'mm_surveillance_judged_timestamp_seconds{instance="spare"}': "0x40",
    },
    "surveillance that has begun to work off what waited": {
        "mm_surveillance_ready": "0x26 1x13",
        "mm_surveillance_judged_timestamp_seconds": "0x40",
        'mm_surveillance_ready{instance="other"}': "1x40",
        'mm_surveillance_judged_timestamp_seconds{instance="other"}': "0+60x40",
    },
    "no quotes for half an hour": {
        f"mm_last_commit_timestamp_seconds{SIGNALS}": "600x40",
        f"mm_lag_records{SIGNALS}": "0x40",
        f"mm_transactions_total{SIGNALS}": "900x40",
        f"mm_decision_age_seconds{SIGNALS}": "5x40",  # of the last commit
    },
    "a backlog that is worked off": {f"mm_lag_records{SIGNALS}": "900000-20000x40"},
}


TEXTS = {
    "NobodyReady": {"no signals agent is ready"},
    "NotReady": {"signals-1 has 6 partitions, but is not ready"},
    "NothingCommitted": {"signals has input, but has committed nothing for 20m 0s"},
    "DeskCritical": {"the desk's alert drawdown is raised"},
}
NOBODY = {
    f'{metric}{{role="{role}", instance_name="0"}}': "_x40"
    for role in ("signals", "portfolio")
    for metric in ("mm_ready", "mm_partitions")
}
"""Two roles of which nothing runs."""


def test_each_fires_in_its_trouble_alone_and_none_when_all_is_well(tmp_path: Path) -> None:
    assert TROUBLE.keys() == RULES.keys()
    tests = [told("all is well", {}, {})]
    tests += [told(name, changed, {name: TEXTS.get(name)}) for name, changed in TROUBLE.items()]
    tests += [told(name, changed, {}) for name, changed in NO_TROUBLE.items()]
    both = {"no signals agent is ready", "no portfolio agent is ready"}
    tests.append(told("two roles are down", NOBODY, {"NobodyReady": both}))
    check(tmp_path, tests)


def test_a_text_that_is_not_as_told_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no signals agent is ready"):
        check(tmp_path, [told("wrong", TROUBLE["NobodyReady"], {"NobodyReady": {"no  agent is ready"}})])


def told(name: str, changed: dict[str, str], fires: dict[str, set[str] | None]) -> dict[str, Any]:
    """A test of promtool's: which alerts, and where given with which texts, fire half an hour after a quiet begin."""
    firing = 'count by (alertname) (ALERTS{alertstate="firing"})'
    counted = {alert: len(texts or {""}) for alert, texts in fires.items()}
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": key, "values": value} for key, value in (QUIET | changed).items()],
        "promql_expr_test": [
            {
                "expr": firing,
                "eval_time": "30m",
                "exp_samples": [{"labels": f'{{alertname="{a}"}}', "value": n} for a, n in counted.items()],
            }
        ],
        "alert_rule_test": [
            {
                "alertname": alert,
                "eval_time": "30m",
                "exp_alerts": [
                    {
                        "exp_labels": {**labels_told(text), "severity": RULES[alert]["labels"]["severity"]},
                        "exp_annotations": {"summary": text},
                    }
                    for text in sorted(texts)
                ],
            }
            for alert, texts in fires.items()
            if texts is not None
        ],
    }


def labels_told(text: str) -> dict[str, str]:
    """The labels of the alert with this text."""
    found = re.search("(?P<role>signals|execution|portfolio)(-(?P<instance_name>[0-9]))?|alert (?P<rule>[a-z]+)", text)
    return {name: value for name, value in (found.groupdict() if found else {}).items() if value is not None}


def check(folder: Path, tests: list[dict[str, Any]]) -> None:
    try:
        promtool = published_schemas.promtool()
    except published_schemas.NoSchemas as error:
        pytest.skip(str(error))
    file = folder / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(FOLDER / "alerts.yml")], "tests": tests}))
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
