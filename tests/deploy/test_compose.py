"""The local view: that its parts exist and mean one another. No container is started here."""

import re
import subprocess
import sys

import pytest
import yaml
from test_images import TARGETS
from test_program import BINARY, start

from monitoring import COLLECTOR, DASHBOARDS, PROMETHEUS, dashboards, panels
from project import MONITORING, PROJECT, seconds, version

COMPOSE = MONITORING / "compose.yaml"
PROVISIONING = MONITORING / "grafana/provisioning"
SOURCES = PROVISIONING / "datasources/infergate.yaml"
# Where images of others listen; ours and the collector are told.
OTHERS = {("prometheus", 9090), ("grafana", 3000), ("jaeger", 4317), ("jaeger", 16686)}


def services():
    return yaml.safe_load(COMPOSE.read_text())["services"]


def mounts():
    """Each mount: the service, the path here, the path there."""
    for name, service in services().items():
        for mount in service.get("volumes", []):
            here, there, mode = mount.split(":")
            assert mode == "ro", mount
            yield name, (MONITORING / here).resolve(), there


def there(name, path):
    """What a service finds at a path."""
    for mounted, here, at in mounts():
        if mounted == name and (path == at or path.startswith(at + "/")):
            return here / path.removeprefix(at).lstrip("/")
    return None


def listening():
    told = set(OTHERS)
    for name in ("gateway", "worker"):
        told |= {(name, int(port)) for port in re.findall(r"=0\.0\.0\.0:(\d+)", " ".join(services()[name]["command"]))}
    own = re.findall(r"(?:0\.0\.0\.0:|port: )(\d+)", COLLECTOR.read_text())
    return told | {("collector", int(port)) for port in own}


def called():
    """Every name and port that one part of it is told of another."""
    for path in (COMPOSE, COLLECTOR, SOURCES, PROMETHEUS / "compose.yaml"):
        found = re.findall(r"\b([a-z]+):(\d{4,5})\b", path.read_text())
        yield from ((name, int(port)) for name, port in found if name in services())
    for job in scraped():
        for names in job.get("dns_sd_configs", []):
            yield from ((name, names["port"]) for name in names["names"])


def scraped():
    return yaml.safe_load((PROMETHEUS / "compose.yaml").read_text())["scrape_configs"]


def check(path):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path]
    run = subprocess.run(command, capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr


def test_it_is_what_the_specification_of_compose_allows():
    assert check(COMPOSE)[0] == 0, check(COMPOSE)[1]


@pytest.mark.parametrize(
    "old, new",
    [("depends_on", "depend_on"), ("restart: unless-stopped", "restart: [always]"), ("image:", "images:")],
)
def test_a_mistake_is_noticed(old, new, tmp_path):
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace(old, new))
    assert check(wrong)[0] == 1


def test_what_is_mounted_exists():
    assert [path for _, path, _ in mounts() if not path.exists()] == []


def test_images_are_ours_of_this_version_or_pinned():
    for name, service in services().items():
        image, _, tag = service["image"].rpartition(":")
        if image.startswith("infergate-"):
            assert tag == version(), name
        else:
            assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag), name
        if build := service.get("build"):
            assert (MONITORING / build["context"]).resolve() == PROJECT
            assert (PROJECT / build["dockerfile"]).exists() and build["target"] in TARGETS
            assert image == f"infergate-{build['target']}"


def test_only_this_machine_can_reach_it():
    published = [port for service in services().values() for port in service.get("ports", [])]
    assert published and all(port.startswith("127.0.0.1:") for port in published)


def test_each_part_listens_where_others_call_it():
    known = {("worker", 8001), ("collector", 4317), ("jaeger", 4317), ("prometheus", 9090), ("collector", 8888)}
    assert known <= set(called()) <= listening()
    for name, service in services().items():
        for port in service.get("ports", []):
            assert (name, int(port.rpartition(":")[2])) in listening()


@pytest.mark.parametrize("role", ["gateway", "worker"])
def test_the_program_takes_the_settings(role, tmp_path):
    told = services()[role]["environment"]
    assert told["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:4317"
    code, errors = start(told, tmp_path)
    assert (code, "INFERGATE_" in errors) == (1, False), errors


@pytest.mark.parametrize("name", ["gateway", "worker", "calls"])
def test_the_program_takes_the_arguments(name):
    """Where models and names are missing each ends with that, and not with the code of a wrong use."""
    instead = [("/models", "/nonexistent"), ("0.0.0.0:8001", "192.0.2.1:1"), ("gateway:8001", "127.0.0.1:9")]
    command = services()[name]["command"]
    for old, new in instead:
        command = [argument.replace(old, new) for argument in command]
    run = subprocess.run([BINARY, *command], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1, run.stderr


def test_grafana_finds_its_dashboards_and_prometheus_its_configuration():
    provider = yaml.safe_load((PROVISIONING / "dashboards/infergate.yaml").read_text())["providers"][0]
    folder = there("grafana", provider["options"]["path"])
    assert sorted(folder.glob("*.json")) == DASHBOARDS
    home = services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert there("grafana", home) in DASHBOARDS
    assert there("grafana", "/etc/grafana/provisioning/datasources") == SOURCES.parent
    for name in ("prometheus", "collector"):
        [config] = [word.split("=", 1)[1] for word in services()[name]["command"] if word.startswith("--config")]
        assert there(name, config).is_file()


def test_grafana_knows_how_often_is_scraped_and_where_traces_are():
    sources = {source["uid"]: source for source in yaml.safe_load(SOURCES.read_text())["datasources"]}
    told = sources["prometheus"]["jsonData"]
    scrape = yaml.safe_load((PROMETHEUS / "compose.yaml").read_text())["global"]["scrape_interval"]
    assert seconds(told["timeInterval"]) == seconds(scrape)
    [leads] = told["exemplarTraceIdDestinations"]
    assert sources[leads["datasourceUid"]]["type"] == "jaeger" and leads["name"] == "trace_id"
    assert "exemplar-storage" in features()
    shown = [target for dashboard in dashboards() for panel in panels(dashboard) for target in panel["targets"]]
    assert any(target.get("exemplar") for target in shown)


def features():
    """What Prometheus is started with beyond what every one does."""
    named = [word.split("=", 1)[1] for word in services()["prometheus"]["command"] if word.startswith("--enable-feature")]
    return {feature for names in named for feature in names.split(",")}


def test_native_histograms_do_not_cost_dashboards_the_classic_ones():
    ours = [job for job in scraped() if job["job_name"].startswith("infergate-")]
    assert ours and ("native-histograms" not in features() or all(job["always_scrape_classic_histograms"] for job in ours))


def test_jobs_are_called_alike_wherever_metrics_are_collected():
    jobs = {job["job_name"] for job in scraped()} - {"collector"}
    assert jobs == {"infergate-gateway", "infergate-worker"}
    for path in (PROMETHEUS / "local.yaml", MONITORING / "collector-metrics.yaml"):
        assert set(re.findall(r"job_name: ([\w-]+)", path.read_text())) == jobs
