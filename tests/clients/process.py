"""The servers under test: processes on free ports, ended by SIGTERM, which they must survive with exit code 0."""

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
BINARY = PROJECT / os.environ.get("INFERGATE_BIN", "target/debug/infergate")

# How long starting and stopping may take before the test gives up.
PATIENCE_S = 20

# Two instances of one thread each, on any machine; and no waiting for balancers that are not there.
USUAL = ("compute.cpus=2", "drain.announce=0s")


class Process:
    """A running process of one role. `settings` are lines `key=value` that outweigh the usual ones."""

    def __init__(self, role, arguments, log, settings=()):
        command = [BINARY, role, *arguments, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        for setting in (dict(line.split("=", 1) for line in (*USUAL, *settings))).items():
            command += ["--set", "=".join(setting)]
        self.log = Path(log)
        with self.log.open("wb") as stderr:
            self.process = subprocess.Popen(
                command, cwd=PROJECT, env=own_environment(), stdout=subprocess.PIPE, stderr=stderr
            )
        self.address, self.admin = self._addresses()

    def _addresses(self):
        with ends_after(PATIENCE_S, self.process):
            line = self.process.stdout.readline().decode()
        found = re.fullmatch(r"listening grpc=(\S+) admin=(\S+)\n", line)
        if not found:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"first line was {line!r}, the log:\n{self.log.read_text()}")
        return found.groups()

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process.poll() is None

    def terminate(self):
        """Asks it to stop, and does not wait."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self):
        """Waits for its end and returns the exit code."""
        with ends_after(PATIENCE_S, self.process):
            code = self.process.wait()
        self.process.stdout.close()
        return code

    def stop(self):
        """Stops it, where it has not stopped yet, and sees that all was well."""
        if self.is_running():
            self.terminate()
        code = self.wait()
        assert code == 0, f"exit code {code}, the log:\n{self.log.read_text()}"


class Server(Process):
    """A server of the models in a folder."""

    def __init__(self, models, log, settings=()):
        super().__init__("serve", ["--models", models], log, settings)


class Gateway(Process):
    """A gateway in front of the servers at `backends`, once it has learned what each of them serves."""

    def __init__(self, backends, log, settings=()):
        backends = [argument for backend in backends for argument in ("--backend", backend)]
        super().__init__("gateway", backends, log, settings)
        ends = time.monotonic() + PATIENCE_S
        while not (self.is_ready() and all(endpoint["surveyed"] for endpoint in self.endpoints())):
            assert time.monotonic() < ends, f"backends do not say what they serve: {self.endpoints()}"
            time.sleep(0.02)

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://{self.admin}/readyz", timeout=PATIENCE_S):
                return True
        except urllib.error.HTTPError:
            return False

    def endpoints(self):
        """What it knows of its backends."""
        with urllib.request.urlopen(f"http://{self.admin}/endpoints", timeout=PATIENCE_S) as page:
            return json.load(page)["endpoints"]


class Split:
    """A gateway and the one worker behind it, called and stopped like one server."""

    def __init__(self, models, log, settings=()):
        self.worker = Process("worker", ["--models", models], log, settings)
        try:
            self.gateway = Gateway([self.worker.address], log.with_suffix(".gateway"), settings)
        except BaseException:
            self.worker.stop()
            raise
        # Calls go to the gateway; what is asked of the process that runs models is asked of the worker.
        self.address, self.admin = self.gateway.address, self.gateway.admin
        self.pid, self.log = self.worker.pid, self.worker.log

    def is_running(self):
        return self.worker.is_running() and self.gateway.is_running()

    def terminate(self):
        self.gateway.terminate()

    def wait(self):
        return self.gateway.wait()

    def stop(self):
        self.gateway.stop()
        self.worker.stop()


def own_environment():
    """The environment without variables that would be read as configuration."""
    return {name: value for name, value in os.environ.items() if not name.startswith("INFERGATE_")}


@contextmanager
def ends_after(seconds, process):
    """Kills `process` where the body takes longer: whoever waits for it goes on."""
    watchdog = threading.Timer(seconds, process.kill)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
