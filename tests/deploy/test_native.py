"""Native histograms, as a real Prometheus has them that asks for protobuf: what is told in both forms is the same."""

import re
import subprocess
import time
from contextlib import ExitStack

import pytest
from process import BINARY
from watched import Cluster, Prometheus, eventually, get, needs_prometheus

pytestmark = needs_prometheus

CALLS = "inference_call_duration_seconds"
STAGES = "inference_stage_duration_seconds"
OF_DIGITS = 'job="infergate-gateway",model="digits"'

SAMPLE = re.compile(r"^([:\w]+)(?:\{(.*?)\})? (\S+)")
LABEL = re.compile(r'(\w+)="([^"]*)"')


def told(process, histograms=True):
    """Every sample of a page of text: its name, its labels, its value."""
    for line in get(f"http://{process.admin}/metrics").decode().splitlines():
        if line.startswith("# TYPE "):
            is_told = histograms or not line.endswith(" histogram")
        elif (found := SAMPLE.match(line)) and is_told:
            name, labels, value = found.groups()
            yield name, dict(LABEL.findall(labels or "")), float(value)


def value(samples, name, **labels):
    [found] = [value for other, own, value in samples if other == name and labels.items() <= own.items()]
    return found


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """A cluster that was called and is not any more, and a Prometheus that looks for native histograms."""
    folder = tmp_path_factory.mktemp("native")
    with ExitStack() as held:
        cluster = Cluster(folder, held, ["metrics.compatible=triton,tensorflow-serving"])
        prometheus = Prometheus(cluster, folder, held, ["exemplar-storage", "native-histograms"])
        for model in ("digits", "slow"):
            bench = [BINARY, "bench", "--target", cluster.gateway.address, f"--model={model}"]
            subprocess.run([*bench, "--rate=100", "--duration=3s", "--warmup=0s"], check=True, capture_output=True)
        samples = list(told(cluster.gateway))
        calls = value(samples, f"{CALLS}_count", model="slow")
        last = f'histogram_count({CALLS}{{job="infergate-gateway",model="slow"}})'
        eventually(lambda: unless(prometheus.numbers(last), [calls]))
        yield cluster, prometheus, samples


def unless(found, expected):
    return None if found == expected else f"{found}, not {expected}"


def test_counts_and_sums_are_those_of_the_text(quiet):
    _, prometheus, samples = quiet
    for model in ("digits", "slow"):
        of_model = f'{CALLS}{{job="infergate-gateway",model="{model}"}}'
        for function, end in (("histogram_count", "count"), ("histogram_sum", "sum")):
            expected = value(samples, f"{CALLS}_{end}", model=model)
            assert prometheus.numbers(f"{function}({of_model})") == [pytest.approx(expected, rel=1e-9)]
    stages = {labels["stage"] for name, labels, _ in samples if name == f"{STAGES}_count" if labels["model"] == "digits"}
    for stage in stages:
        expected = value(samples, f"{STAGES}_count", model="digits", stage=stage)
        assert prometheus.numbers(f'histogram_count({STAGES}{{{OF_DIGITS},stage="{stage}"}})') == [expected]


@pytest.mark.parametrize("model", ["digits", "slow"])
@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9, 0.99])
def test_a_quantile_lies_where_the_classic_buckets_have_it(quiet, model, quantile):
    _, prometheus, samples = quiet
    buckets = [
        (float(labels["le"]), value) for name, labels, value in samples
        if name == f"{CALLS}_bucket" and labels["model"] == model
    ]
    rank = quantile * buckets[-1][1]
    below = [bound for bound, count in buckets if count < rank]
    above = next(bound for bound, count in buckets if count >= rank)
    query = f'histogram_quantile({quantile}, {CALLS}{{job="infergate-gateway",model="{model}"}})'
    [found] = prometheus.numbers(query)
    # A bucket of a native histogram ends 19 % above its beginning, and may lie across a bound.
    assert max(below, default=0) / 1.19 <= found <= above * 1.19


def test_rows_of_batches_are_native_as_well(quiet):
    cluster, prometheus, _ = quiet
    rows = "inference_batch_rows"
    expected = sum(value(list(told(worker)), f"{rows}_count", model="digits") for worker in cluster.workers)
    query = f'sum(histogram_count({rows}{{job="infergate-worker",model="digits"}}))'
    eventually(lambda: unless(prometheus.numbers(query), [expected]))


def test_whoever_looks_for_native_histograms_alone_has_no_classic_ones(quiet):
    """Newer ones keep both where they are told to: `scrape_classic_histograms`."""
    _, prometheus, _ = quiet
    assert prometheus.numbers(f"{CALLS}_bucket") == []
    assert prometheus.numbers("inference_batch_rows_bucket") == []


def test_all_else_is_what_the_text_says(quiet):
    """Counters and gauges that stand still, of every name, those of other servers included."""
    cluster, prometheus, _ = quiet
    moves = re.compile("process_|discovery_stale|tracing_|metrics_pushes|balance_budget|predicted_wait")
    for job, processes in cluster.by_job().items():
        for process in processes:
            samples = [one for one in told(process, histograms=False) if not moves.search(one[0])]
            assert len({name for name, _, _ in samples}) > 10
            for name, labels, expected in samples:
                wanted = {**labels, "job": job, "instance": process.admin}
                matched = ",".join(f'{label}="{value}"' for label, value in wanted.items())
                query = f'{{__name__="{name}",{matched}}}'
                eventually(lambda query=query, value=expected: unless(prometheus.numbers(query), [value]), 20)


def test_slow_calls_lead_to_their_traces(quiet):
    _, prometheus, _ = quiet
    now = time.time()
    found = prometheus.ask("query_exemplars", query=f"{CALLS}{{{OF_DIGITS}}}", start=now - 600, end=now)
    traces = [one["labels"]["trace_id"] for series in found for one in series["exemplars"]]
    assert traces and all(len(trace) == 32 for trace in traces)
