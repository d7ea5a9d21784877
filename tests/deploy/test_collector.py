"""The collector's configuration: that pipelines are made of what is defined. The collector itself is not run here."""

import copy

import pytest
import yaml

from monitoring import COLLECTOR
from project import MONITORING

METRICS = MONITORING / "collector-metrics.yaml"
PUSHED = MONITORING / "collector-pushed.yaml"
# What the distribution `otelcol` has of each kind, as far as it is used here.
KNOWN = {
    "receivers": {"otlp", "prometheus"},
    "processors": {"memory_limiter", "batch"},
    "exporters": {"otlp", "otlphttp"},
    "extensions": {"health_check"},
}


def merged(into, more):
    """As the collector merges what it reads from several files: maps key by key, all else anew."""
    for key, value in more.items():
        into[key] = merged(into[key], value) if isinstance(into.get(key), dict) and isinstance(value, dict) else value
    return into


def both(metrics=METRICS):
    return merged(yaml.safe_load(COLLECTOR.read_text()), yaml.safe_load(metrics.read_text()))


def complaints(config):
    used = {kind: set() for kind in KNOWN}
    used["extensions"] |= set(config["service"]["extensions"])
    for name, pipeline in config["service"]["pipelines"].items():
        for kind in ("receivers", "processors", "exporters"):
            used[kind] |= set(pipeline[kind])
        if pipeline["processors"][0] != "memory_limiter" or pipeline["processors"][-1] != "batch":
            yield f"{name} takes in what it has no room for, or hands on one by one"
    for kind, names in used.items():
        if names != config[kind].keys():
            yield f"{kind} are defined and used differently: {names ^ config[kind].keys()}"
        for name in config[kind].keys():
            if name.partition("/")[0] not in KNOWN[kind]:
                yield f"{name} is none of the {kind} that there are"
    for name, exporter in config["exporters"].items():
        if "endpoint" not in exporter:
            yield f"{name} has nowhere to send to"


@pytest.mark.parametrize(
    "config",
    [yaml.safe_load(COLLECTOR.read_text()), both(), both(PUSHED)],
    ids=["traces", "metrics too", "metrics that are pushed"],
)
def test_pipelines_are_made_of_what_is_defined(config):
    assert list(complaints(config)) == []


def test_both_protocols_of_traces_are_taken():
    protocols = both()["receivers"]["otlp"]["protocols"]
    listens = {name: told["endpoint"] for name, told in protocols.items()}
    assert listens == {"grpc": "0.0.0.0:4317", "http": "0.0.0.0:4318"}
    assert both()["service"]["pipelines"].keys() == {"traces", "metrics"}


def test_metrics_are_taken_in_one_way():
    receivers = [both(metrics)["service"]["pipelines"]["metrics"]["receivers"] for metrics in (METRICS, PUSHED)]
    assert receivers == [["prometheus"], ["otlp"]]


@pytest.mark.parametrize(
    "breaks",
    [
        lambda it: it["exporters"].pop("otlp/traces"),
        lambda it: it["exporters"]["otlp/traces"].pop("endpoint"),
        lambda it: it["receivers"].update(jaeger={}),
        lambda it: it["processors"].update({"tail_sampling": {}}),
        lambda it: it["service"]["extensions"].append("zpages"),
        lambda it: it["service"]["pipelines"]["traces"]["processors"].reverse(),
    ],
    ids=["undefined", "nowhere", "unused", "unknown", "extension", "order"],
)
def test_a_mistake_is_noticed(breaks):
    broken = copy.deepcopy(both())
    breaks(broken)
    assert list(complaints(broken)) != []
