"""Rules by promtool, with tests of their own, and what an alert must tell whoever is woken by it."""

import re
import subprocess

import pytest
import yaml
from promql import groupings
from watched import needs_prometheus

from monitoring import PROMETHEUS, RULE_TESTS, RULES, alerts, dashboards, queries, rules

# Of the status codes, what counts as failed by the server's doing.
FAILED = "DATA_LOSS|DEADLINE_EXCEEDED|INTERNAL|RESOURCE_EXHAUSTED|UNAVAILABLE|UNKNOWN"


def promtool(*arguments, folder=None):
    run = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=300, cwd=folder)
    return run.returncode, run.stdout + run.stderr


def expected_alerts():
    """Names of alerts that a test of the rules expects to fire."""
    for path in RULE_TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for asked in test["promql_expr_test"]:
                for sample in asked["exp_samples"]:
                    if 'alertstate="firing"' in sample["labels"]:
                        yield re.search(r'alertname="(\w+)"', sample["labels"])[1]


@needs_prometheus
@pytest.mark.parametrize("path", sorted(PROMETHEUS.glob("*.yaml")), ids=lambda path: path.name)
def test_promtool_takes_the_configuration_and_the_rules(path):
    code, said = promtool("check", "config", path)
    assert code == 0 and said.count("rules found") == len(RULES), said


@needs_prometheus
@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.name)
def test_the_rules_pass_their_own_tests(path):
    code, said = promtool("test", "rules", path)
    assert code == 0, said


@needs_prometheus
def test_a_wrong_rule_fails_its_tests(tmp_path):
    for path in [*RULES, *RULE_TESTS]:
        copy = tmp_path / path.relative_to(PROMETHEUS / "rules")
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(path.read_text().replace('state!="admitting"', 'state="ejected"').replace("> 14.4", "> 144"))
    for path in RULE_TESTS:
        code, said = promtool("test", "rules", tmp_path / "tests" / path.name)
        assert code != 0 and "FAILED" in said


def test_each_alert_is_seen_to_fire():
    assert set(expected_alerts()) == {rule["alert"] for rule in alerts()}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_it_is_and_where_to_look(rule):
    assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})
    assert rule["annotations"].keys() == {"summary", "description", "dashboard"}
    assert rule["annotations"]["dashboard"] in {dashboard["uid"] for dashboard in dashboards()}
    assert len(rule["annotations"]["description"]) > 80


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_leads_to_panels_and_dashboards_that_there_are(rule):
    titles = {panel["title"] for dashboard in dashboards() for panel in dashboard["panels"]}
    boards = {re.search(r"/ (\w+)", dashboard["title"])[1] for dashboard in dashboards()}
    description = rule["annotations"]["description"]
    assert set(re.findall(r'"([^"]+)"', description)) <= titles
    assert set(re.findall(r"\((?:[a-z ]*dashboard )?([A-Z]\w+)\)", description)) <= boards


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_names_only_labels_that_it_has(rule):
    """Where results are grouped, nothing else is left of their labels."""
    named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"] + rule["annotations"]["description"]))
    if kept := groupings(rule["expr"]):
        assert named <= kept


def test_dashboards_and_rules_count_the_same_codes_as_failed():
    exprs = [rule["expr"] for rule in rules()]
    exprs += [expr for dashboard in dashboards() for _, expr in queries(dashboard)]
    told = [codes for expr in exprs for codes in re.findall(r'code=~"([^"]*)"', expr)]
    assert len(told) > 2 and set(told) == {FAILED}
