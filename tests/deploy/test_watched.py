"""Every query of dashboards and rules, asked of a real Prometheus that scrapes a real cluster under load."""

import time
from contextlib import ExitStack

import pytest
from promql import as_numbers
from watched import Cluster, Prometheus, eventually, needs_prometheus

from monitoring import alerts, asked, dashboards, queries, rules, variables

pytestmark = needs_prometheus

# What no run that is well can give an answer to, and why.
WITHOUT_ANSWER = {
    "InfergateAbsent": "holds only where nothing is watched",
    "InfergateRefuses": "there is room for all calls",
}


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A Prometheus that has watched a cluster under load for long enough for rates."""
    folder = tmp_path_factory.mktemp("watched")
    with ExitStack() as held:
        cluster = Cluster(folder, held)
        prometheus = Prometheus(cluster, folder, held)
        cluster.called()
        eventually(lambda: cluster.gone() or unseen(prometheus, cluster))
        yield prometheus
        assert cluster.gone() == []


def unseen(prometheus, cluster):
    """What is known of calls and scrapes, unless Prometheus sees calls that are answered."""
    if not prometheus.numbers('sum(rate(inference_calls_total{job="infergate-gateway",code="OK"}[10s])) > 0'):
        scrapes = [(target["health"], target["lastError"]) for target in prometheus.ask("targets")["activeTargets"]]
        return scrapes, cluster.counted()


def chosen(prometheus, dashboard):
    """What the variables of a dashboard are when somebody opens it."""
    values = {"$datasource": "", "$__rate_interval": "10s"}
    for name, variable in variables(dashboard).items():
        if variable["type"] == "query":
            series, label = asked(variable)
            for known, value in values.items():
                series = series.replace(known, value)
            told = prometheus.ask(f"label/{label}/values", **({"match[]": series} if series else {}))
            assert told, f"{dashboard['title']}: there is nothing to choose for {name}"
            told.sort(reverse=variable["sort"] == 2)
            values[f"${name}"] = variable["allValue"] if variable["includeAll"] else told[0]
    return values


def filled(expr, values):
    for name in sorted(values, key=len, reverse=True):
        expr = expr.replace(name, values[name])
    assert "$" not in expr, expr
    return expr


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda dashboard: dashboard["uid"])
def test_every_query_of_a_dashboard_gives_numbers(watched, dashboard):
    def without():
        values = chosen(watched, dashboard)
        return [where for where, expr in queries(dashboard) if not watched.numbers(filled(expr, values))]

    eventually(without)


def test_every_rule_gives_numbers(watched):
    def without():
        named = {rule.get("record") or rule["alert"]: rule["expr"] for rule in rules()}
        return [
            name
            for name, expr in named.items()
            if name not in WITHOUT_ANSWER and not watched.numbers(name if ":" in name else as_numbers(expr))
        ]

    eventually(without)


def test_prometheus_itself_finds_nothing_wrong_with_the_rules(watched):
    def wrong():
        told = [rule for group in watched.ask("rules")["groups"] for rule in group["rules"]]
        assert len(told) == len(list(rules()))
        return [(rule["name"], rule["health"], rule.get("lastError")) for rule in told if rule["health"] != "ok"]

    eventually(wrong)


def test_the_stages_of_the_overview_add_up_to_the_calls(watched):
    overview = next(dashboard for dashboard in dashboards() if dashboard["uid"] == "infergate-overview")
    panel = next(panel for panel in overview["panels"] if panel["title"] == "Mean time of a call, by stage")
    stages = filled(panel["targets"][0]["expr"], chosen(watched, overview))
    calls = 'sum(rate(inference_call_duration_seconds_{}{{job="infergate-gateway"}}[10s]))'
    whole = f"sum({stages}) / ({calls.format('sum')} / {calls.format('count')})"

    # A stage that is told for the first time within the ten seconds lacks its first value.
    def apart():
        told = watched.numbers(whole)
        return None if told == [pytest.approx(1, abs=0.01)] else told or "nothing"

    eventually(apart)


def test_slow_calls_lead_to_their_traces(watched):
    def without():
        now = time.time()
        metric = "inference_call_duration_seconds_bucket"
        told = watched.ask("query_exemplars", query=metric, start=now - 60, end=now)
        traces = [one["labels"]["trace_id"] for series in told for one in series["exemplars"]]
        return not all(len(trace) == 32 for trace in traces) or not traces

    eventually(without)


def test_workers_that_go_are_noticed(tmp_path):
    """By the alerts whose condition holds then, and by none that wakes somebody before."""
    with ExitStack() as held:
        cluster = Cluster(tmp_path, held)
        prometheus = Prometheus(cluster, tmp_path, held)
        wakes = {rule["alert"] for rule in alerts() if rule["labels"]["severity"] == "page"}
        eventually(lambda: len(prometheus.numbers("up == 1")) != 3 or prometheus.alerts() & wakes)
        for worker in cluster.workers:
            worker.stop()
        expected = {"InfergateDown", "InfergateEndpointsLost", "InfergateNoEndpoint"}
        eventually(lambda: expected - prometheus.alerts())
