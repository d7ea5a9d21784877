"""What lies in deploy/monitoring, as data."""

import json
import re

import yaml

from project import MONITORING, PROJECT

PROMETHEUS = MONITORING / "prometheus"
COLLECTOR = MONITORING / "collector.yaml"
RULES = sorted((PROMETHEUS / "rules").glob("*.yaml"))
RULE_TESTS = sorted((PROMETHEUS / "rules/tests").glob("*.yaml"))
DASHBOARDS = sorted((MONITORING / "grafana/dashboards").glob("*.json"))


def dashboards():
    return [json.loads(path.read_text()) for path in DASHBOARDS]


def panels(dashboard):
    """Its panels that show something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard):
    """Every query that its panels and annotations make, with where it stands."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield f"{dashboard['title']}: {panel['title']}: {target['legendFormat']}", target["expr"]
    for note in dashboard["annotations"]["list"]:
        yield f"{dashboard['title']}: {note['name']}", note["expr"]


def variables(dashboard):
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def asked(variable):
    """The metric and the label of a `label_values(metric, label)`."""
    return re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()


def rules():
    """Every rule, with `record` or `alert` as its name."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def alerts():
    return [rule for rule in rules() if "alert" in rule]


def recorded():
    return {rule["record"] for rule in rules() if "record" in rule}


def documented():
    """The labels of each metric that docs/metrics.md has; tests/it/metrics.rs holds that those are all that are told."""
    rows = re.findall(r"^\| `(:?[\w:]+)(?:\{([\w,]+)\})?` \|", (PROJECT / "docs/metrics.md").read_text(), re.MULTILINE)
    return {name: set(labels.split(",")) - {""} for name, labels in rows}
