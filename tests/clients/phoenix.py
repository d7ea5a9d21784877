"""Arize's Phoenix: a tracing back end that takes OTLP by gRPC and by HTTP, keeps spans, and tells them by a REST interface."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.metadata import distributions

import pytest

from process import PATIENCE_S, PROJECT, ends_after

# What `make phoenix` installs.
FOLDER = PROJECT / os.environ.get("PHOENIX_FOLDER", ".runtime/phoenix")

# It makes itself a database first.
STARTING_S = 120


def needed():
    """Skips whoever asks where there is no Phoenix."""
    if not any(found.metadata["Name"] == "arize-phoenix" for found in distributions(path=[str(FOLDER)])):
        pytest.skip(f"no arize-phoenix in {FOLDER}: make phoenix installs it")


class Phoenix:
    """A running Phoenix."""

    def __init__(self, folder):
        self.log = folder / "phoenix.log"
        with socket.socket() as web, socket.socket() as grpc:
            for kept in (web, grpc):
                kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                kept.bind(("127.0.0.1", 0))
            self._web, self._grpc = web.getsockname()[1], grpc.getsockname()[1]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "phoenix.server.main", "serve"],
                env=self._environment(folder), cwd=folder, stdout=log, stderr=log,
            )
        self._until_healthy()

    def _environment(self, folder):
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(FOLDER),
            "PHOENIX_WORKING_DIR": str(folder),
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(self._web),
            "PHOENIX_GRPC_PORT": str(self._grpc),
            "PHOENIX_TELEMETRY_ENABLED": "false",
        }

    def _until_healthy(self):
        ends = time.monotonic() + STARTING_S
        while True:
            try:
                return self._get("/healthz")
            except (urllib.error.URLError, ConnectionError):
                assert self.process.poll() is None and time.monotonic() < ends, self.log.read_text()
                time.sleep(0.1)

    def _get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self._web}{path}", timeout=PATIENCE_S) as answer:
            return answer.read()

    def endpoint(self, protocol):
        """Where it takes spans by `grpc` or `http`."""
        return f"http://127.0.0.1:{self._grpc if protocol == 'grpc' else self._web}"

    def traces(self, count):
        """Its traces by their ids, each a list of spans, once each of `count` calls has the spans of both its processes."""
        ends = time.monotonic() + PATIENCE_S
        while True:
            told = json.loads(self._get("/v1/projects/default/spans?limit=1000"))["data"]
            traces = {}
            for span in told:
                traces.setdefault(span["context"]["trace_id"], []).append(span)
            whole = [spans for spans in traces.values() if is_whole(spans)]
            if len(whole) >= count:
                return traces
            assert time.monotonic() < ends, told
            time.sleep(0.05)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        with ends_after(PATIENCE_S, self.process):
            self.process.wait()


def is_whole(spans):
    """Whether each span but the first hangs beneath another, and a batch is among them."""
    ids = {span["context"]["span_id"] for span in spans}
    roots = [span for span in spans if span["parent_id"] not in ids]
    return len(roots) == 1 and any(span["name"] == "batch" for span in spans)
