"""The dashboard and the alerts speak of metrics that are there, in PromQL that parses."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import promql_parser
import pytest
import yaml
from rendering import INFRA

from jobs.metrics import COUNTERS, GAUGES
from serve.metrics import COUNTERS as SERVED

MONITORING = INFRA / "monitoring"
GROUPS = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
OURS = {f"ray_{name}_total" for name in COUNTERS | SERVED} | {f"ray_{name}" for name in GAUGES}


def expressions() -> list[str]:
    shown = (panel.get("targets", []) for panel in DASHBOARD["panels"])  # rows have none
    return [target["expr"] for targets in shown for target in targets] + [
        rule["expr"] for rule in RULES
    ]


@pytest.mark.parametrize("expression", expressions())
def test_every_expression_parses_and_names_metrics_that_are_exported(expression: str) -> None:
    promql_parser.parse(expression)
    assert set(re.findall(r"\bray_pathray_\w+", expression)) <= OURS
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    assert set(re.findall(r"\bpathray:\w+:\w+", expression)) <= recorded


def test_a_metric_that_nobody_looks_at_is_not_exported() -> None:
    looked_at = {name for each in expressions() for name in re.findall(r"ray_pathray_\w+", each)}
    assert looked_at == OURS


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    alerts = [rule for rule in RULES if "alert" in rule]
    names = [rule["alert"] for rule in alerts]
    assert len(names) == len(set(names)) >= 8
    for rule in alerts:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "what_to_do"}


def test_the_readme_tells_every_alert_and_no_other() -> None:
    readme = (INFRA / "README.md").read_text()
    told = re.findall(r"^\| (Pathray\w+.*?) \| (page|ticket) ", readme, re.MULTILINE)
    severities = {name: severity for names, severity in told for name in names.split(", ")}
    assert severities == {
        rule["alert"]: rule["labels"]["severity"] for rule in RULES if "alert" in rule
    }


def test_the_panels_lie_side_by_side() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24


def test_alerts_fire_when_they_should() -> None:
    """By Prometheus' own tool, where it is installed: Debian has it in `prometheus`."""
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed")
    cases = Path(__file__).parent / "alerts_promtool.yaml"
    done = subprocess.run(
        ["promtool", "test", "rules", str(cases)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
