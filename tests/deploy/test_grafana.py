"""Dashboards by Grafana's own types, which forget what they do not know. Grafana itself is not run here."""

import copy
import json

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring import dashboards

# What its source for Prometheus reads of a note, beside what all sources have.
OF_NOTES = {"useValueForTime", "titleFormat", "textFormat", "step"}


@pytest.fixture(scope="module", autouse=True)
def panels_of_grafana():
    plugins.register_default_plugins()


def forgotten(told, understood, where=""):
    """Keys and entries that are not there any more."""
    if isinstance(told, dict):
        for key, value in told.items():
            if key not in understood:
                yield f"{where}/{key}"
            else:
                yield from forgotten(value, understood[key], f"{where}/{key}")
    elif isinstance(told, list):
        for one, other in zip(told, understood, strict=True):
            yield from forgotten(one, other, where)
    elif told != understood:
        yield f"{where}: {told} is now {understood}"


def not_understood(dashboard):
    understood = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
    notes = {f"/annotations/list/{key}" for key in OF_NOTES}
    return set(forgotten(dashboard, understood)) - notes


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda dashboard: dashboard["uid"])
def test_grafana_knows_everything_in_a_dashboard(dashboard):
    assert not_understood(dashboard) == set()


@pytest.mark.parametrize(
    "breaks",
    [
        lambda it: it.update(refreshes="30s"),
        lambda it: it["panels"][1].update(describe=""),
        lambda it: it["panels"][1]["targets"][0].update(expression="up"),
        lambda it: it["panels"][1]["fieldConfig"]["defaults"].update(units="s"),
        lambda it: it["panels"][1]["fieldConfig"]["defaults"]["custom"].update(lineWith=1),
        lambda it: it["panels"][1]["options"]["legend"].update(place="right"),
        lambda it: it["templating"]["list"][1].update(multiple=True),
    ],
    ids=["dashboard", "panel", "query", "field", "drawing", "legend", "variable"],
)
def test_a_key_that_grafana_does_not_know_is_noticed(breaks):
    broken = copy.deepcopy(next(board for board in dashboards() if board["uid"] == "infergate-model"))
    breaks(broken)
    assert len(not_understood(broken)) == 1
