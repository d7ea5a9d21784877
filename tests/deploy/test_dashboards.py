"""Dashboards as Grafana wants them, and the metrics and labels in them and in rules as the documentation has them."""

import subprocess

import pytest
from promql import as_numbers, groupings, selectors

from monitoring import DASHBOARDS, asked, dashboards, documented, panels, queries, recorded, rules, variables
from project import PROJECT

# What Prometheus adds: to every sample of a target, to buckets, and of its own.
OF_TARGETS, OF_BUCKETS = {"job", "instance"}, {"le"}
OWN = {"up": set()}
UNITS = {"short", "reqps", "ops", "rowsps", "cpm", "s", "bytes", "percentunit"}


def known():
    """The labels of everything that can be asked for, by its name."""
    told = {name: labels | OF_TARGETS for name, labels in documented().items()}
    for name, labels in list(told.items()):
        for end, more in [("_sum", set()), ("_count", set()), ("_bucket", OF_BUCKETS)]:
            told[name + end] = labels | more
    own = {name: labels | OF_TARGETS for name, labels in OWN.items()}
    return told | own | {name: {"job"} for name in recorded()}


def exprs():
    for rule in rules():
        yield rule.get("record") or rule["alert"], rule["expr"]
    for dashboard in dashboards():
        yield from queries(dashboard)
        for name, variable in variables(dashboard).items():
            if variable["type"] == "query":
                series, label = asked(variable)
                yield f"{dashboard['title']}: {name}", f"sum by ({label}) ({series})"


def unknown(expr):
    """Names and labels of a query that nothing has."""
    told, names = known(), dict(selectors(expr))
    for name, labels in selectors(expr):
        if name not in told:
            yield name
        elif labels - told[name]:
            yield f"{name}{labels - told[name]}"
    yield from groupings(expr) - set().union(*(told.get(name, set()) for name in names))


def test_dashboards_and_rules_ask_for_what_the_documentation_has():
    asked_for = list(exprs())
    assert len(asked_for) > 100
    assert {where: list(unknown(expr)) for where, expr in asked_for if list(unknown(expr))} == {}


@pytest.mark.parametrize(
    "expr, wrong",
    [
        ("sum by (code) (rate(inference_calls_total[5m]))", []),
        ("sum by (code) (rate(inference_call_total[5m]))", ["inference_call_total", "code"]),
        ('inference_calls_total{status="OK"}', ["inference_calls_total{'status'}"]),
        ("sum by (stage) (rate(inference_calls_total[5m]))", ["stage"]),
        ("sum by (le) (rate(inference_batch_rows_bucket[5m]))", []),
        ('a_b / on (model) group_left sum(up{job!~".*by (x)"} > 1 or vector(0))', ["a_b", "model"]),
        ("job:inference_calls:rate5m * 0 and job:inference_calls:rate6m", ["job:inference_calls:rate6m"]),
    ],
)
def test_a_name_that_nothing_has_is_noticed(expr, wrong):
    assert list(unknown(expr)) == wrong


def test_comparisons_become_numbers():
    assert as_numbers('a{x!="> 1"} / b > 0.5 and c == 0') == 'a{x!="> 1"} / b > bool 0.5 and c == bool 0'


# The same numbers by the names of other servers have dashboards elsewhere.
OURS = sorted(name for name in documented() if not name.startswith((":", "nv_")))


@pytest.mark.parametrize("name", OURS)
def test_each_metric_of_ours_is_on_a_dashboard(name):
    shown = {metric for dashboard in dashboards() for _, expr in queries(dashboard) for metric, _ in selectors(expr)}
    assert shown & {name, f"{name}_sum", f"{name}_bucket"}


def test_no_two_dashboards_and_no_two_panels_are_the_same():
    told = dashboards()
    for key in ("uid", "title"):
        assert len({dashboard[key] for dashboard in told}) == len(told) == len(DASHBOARDS) >= 5
    for dashboard in told:
        numbers = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda dashboard: dashboard["uid"])
def test_panels_lie_side_by_side_in_the_grid(dashboard):
    taken = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda dashboard: dashboard["uid"])
def test_each_panel_says_what_it_shows_and_asks_the_chosen_source(dashboard):
    assert {"datasource", "job", "instance"} <= variables(dashboard).keys()
    for panel in panels(dashboard):
        assert len(panel["description"]) > 10 and panel["type"] in ("timeseries", "stat", "heatmap"), panel["title"]
        assert panel["fieldConfig"]["defaults"].get("unit", "short") in UNITS, panel["title"]
        letters = [target["refId"] for target in panel["targets"]]
        assert letters and len(set(letters)) == len(letters), panel["title"]
        for asks in [panel, *panel["targets"]]:
            assert asks["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]


def test_the_dashboards_are_what_their_sources_render_to(tmp_path):
    subprocess.run([PROJECT / "deploy/scripts/dashboards", "--to", tmp_path], check=True)
    rendered = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert rendered == {path.name: path.read_text() for path in DASHBOARDS}, "write them anew with `make dashboards`"
