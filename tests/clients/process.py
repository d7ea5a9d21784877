"""The server under test: a process on free ports, ended by SIGTERM, which it must survive with exit code 0."""

import os
import re
import signal
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
BINARY = PROJECT / os.environ.get("INFERGATE_BIN", "target/debug/infergate")

# How long starting and stopping may take before the test gives up.
PATIENCE_S = 20

# Two instances of one thread each, on any machine; and no waiting for balancers that are not there.
USUAL = ("compute.cpus=2", "drain.announce=0s")


class Server:
    """A running server. `settings` are lines `key=value` that outweigh the usual ones."""

    def __init__(self, models, log, settings=()):
        command = [BINARY, "serve", "--models", models]
        command += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
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
