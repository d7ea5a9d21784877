"""A cluster that runs, calls to it, and a Prometheus that watches it by the configuration that is deployed."""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager

import pytest
import yaml
from process import BINARY, PATIENCE_S, Process

from monitoring import PROMETHEUS
from project import PROJECT

# CI has to have them; who has them not is told why tests are left out.
needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")) and not os.environ.get("CI"),
    reason="there is no prometheus here: Debian's package has it, with promtool",
)

# Nobody listens there: spans are made, kept and dropped, and metrics are pushed, all of which is told.
TRACED = ("tracing.endpoint=http://127.0.0.1:9", "tracing.ratio=1.0")
PUSHED = ("metrics.endpoint=http://127.0.0.1:9", "metrics.interval=1s")

# Some calls come too late, so that there are failures to see.
CALLS = (
    "--model=digits --rate=100 --rows=20",
    "--model=penguins --rate=50",
    "--model=language --rate=20 --dim=bytes=16",
    "--model=slow --rate=20 --deadline=3ms",
)


def eventually(look, seconds=90):
    """Waits until `look` finds nothing that is missing, and fails with what it missed last."""
    ends = time.monotonic() + seconds
    while missing := look():
        assert time.monotonic() < ends, f"after {seconds} s still: {missing}"
        time.sleep(0.2)


def get(url):
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        return answer.read()


@contextmanager
def running(command, log):
    """A command that goes on in the background, and is killed at the end."""
    with log.open("wb") as said:
        child = subprocess.Popen(command, cwd=PROJECT, stdout=said, stderr=said)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


class Cluster:
    """A gateway in front of two workers that it finds by name, for as long as `held` is."""

    def __init__(self, folder, held, settings=()):
        self.held, self.folder, self.callers, self.settings = held, folder, [], settings
        models = folder / "models"
        shutil.copytree(PROJECT / "examples/models", models)
        shutil.copytree(PROJECT / "tests/fixtures/models/slow", models / "slow")
        self.workers = [self.start("worker", ["--models", models], f"worker-{number}") for number in (1, 2)]
        names = [f"--dns=localhost:{worker.address.rsplit(':', 1)[1]}" for worker in self.workers]
        self.gateway = self.start("gateway", names, "gateway", ["model.penguins.binding=late"])
        eventually(self.unknown)

    def start(self, role, arguments, name, settings=()):
        process = Process(role, arguments, self.folder / f"{name}.log", [*TRACED, *PUSHED, *self.settings, *settings])
        self.held.callback(process.stop)
        return process

    def unknown(self):
        """What is known of backends, unless both workers are called."""
        told = json.loads(get(f"http://{self.gateway.admin}/endpoints"))["endpoints"]
        called = [one for one in told if one["connection"] == "connected" and one["surveyed"]]
        return None if len(called) == len(self.workers) else told

    def called(self):
        """Calls come from now on."""
        for how in CALLS:
            command = [BINARY, "bench", "--target", self.gateway.address, "--duration=1h", "--warmup=0s", *how.split()]
            log = self.folder / f"{how.split()[0]}.log"
            self.callers.append((self.held.enter_context(running(command, log)), log))

    def counted(self):
        """What the gateway says of calls."""
        lines = get(f"http://{self.gateway.admin}/metrics").decode().splitlines()
        return [line for line in lines if line.startswith("inference_calls_")]

    def gone(self):
        """What callers said that have gone, though they should not."""
        return [log.read_text() for caller, log in self.callers if caller.poll() is not None]

    def by_job(self):
        return {"infergate-gateway": [self.gateway], "infergate-worker": self.workers}


class Prometheus:
    """Scrapes every second what local.yaml has, at the addresses where a cluster's processes are."""

    def __init__(self, cluster, folder, held, features=("exemplar-storage",)):
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(self.configured(cluster.by_job())))
        self.log = folder / "prometheus.log"
        command = ["prometheus", f"--config.file={folder / 'prometheus.yaml'}"]
        command += [f"--enable-feature={','.join(features)}"]
        command += [f"--storage.tsdb.path={folder / 'data'}", "--web.listen-address=127.0.0.1:0"]
        held.enter_context(running(command, self.log))
        eventually(self.unready)

    @staticmethod
    def configured(by_job):
        config = yaml.safe_load((PROMETHEUS / "local.yaml").read_text())
        config["global"] = dict.fromkeys(config["global"], "1s")
        config["rule_files"] = [str(PROMETHEUS / pattern) for pattern in config["rule_files"]]
        for job in config["scrape_configs"]:
            [targets] = job["static_configs"]
            told = [process.admin for process in by_job[job["job_name"]]]
            assert len(told) == len(targets["targets"])
            targets["targets"] = told
        return config

    def unready(self):
        """Its log, until it has a port and answers there."""
        log = self.log.read_text()
        if not (told := re.search(r'msg="Listening on".* address=(\S+)', log)):
            return log or "nothing yet"
        self.address = told[1]
        try:
            get(f"http://{self.address}/-/ready")
        except OSError:
            return log

    def ask(self, path, **parameters):
        """What its API answers; a query that it cannot read fails with what it says of it."""
        try:
            told = get(f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error
        return json.loads(told)["data"]

    def numbers(self, expr):
        """The values that a query gives, without those that are no number."""
        values = [float(one["value"][1]) for one in self.ask("query", query=expr)["result"]]
        return [value for value in values if value == value]

    def alerts(self):
        """The names of alerts whose condition holds, whether or not it has held for long enough."""
        return {alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"]}
