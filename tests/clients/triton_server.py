"""NVIDIA's Triton Inference Server, as `nvidia-pytriton` carries it: the server itself, with its Python backend."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import grpc
import pytest

from process import PATIENCE_S, PROJECT, ends_after

# What `make test` installs; numpy for the models is there too, older than the one of the tests.
FOLDER = PROJECT / os.environ.get("TRITON_FOLDER", ".runtime/triton")
PACKAGE = FOLDER / "pytriton/tritonserver"

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
STUB = PACKAGE / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"


def needed():
    """Skips whoever asks where there is no Triton."""
    if not STUB.exists():
        pytest.skip(f"no nvidia-pytriton for Python {PYTHON} in {FOLDER}")

# It starts a process for each model.
STARTING_S = 60


class Triton:
    """A running Triton that serves the models in a folder, and loads and unloads them when it is told."""

    def __init__(self, models, folder):
        self._models = models
        backend = folder / "backends/python"
        shutil.copytree(PACKAGE / "backends/python", backend)
        shutil.copy(STUB, backend)
        (backend / STUB.name).chmod(0o755)
        (server := PACKAGE / "bin/tritonserver").chmod(0o755)
        # Where Triton is told port 0 it does not say which it got: the port is kept for it by a socket beside its own.
        with socket.socket() as kept:
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            kept.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{kept.getsockname()[1]}"
            self.log = folder / "triton.log"
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    [server, *self._arguments(folder)], env=environment(), stdout=log, stderr=log
                )
            self._until_ready()

    def _arguments(self, folder):
        host, _, port = self.address.partition(":")
        flags = {
            "model-repository": self._models,
            "model-control-mode": "explicit",
            "load-model": "*",
            "backend-directory": folder / "backends",
            "grpc-address": host,
            "grpc-port": port,
            "reuse-grpc-port": "true",
            "allow-http": "false",
            "allow-metrics": "false",
        }
        return [argument for flag, value in flags.items() for argument in (f"--{flag}", value)]

    def _until_ready(self):
        ends = time.monotonic() + STARTING_S
        with grpc.insecure_channel(self.address) as channel:
            ready = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")
            while True:
                assert self.process.poll() is None and time.monotonic() < ends, self.log.read_text()
                try:
                    # The field `ready`, true.
                    if ready(b"", timeout=1) == b"\x08\x01":
                        return
                except grpc.RpcError:
                    pass
                time.sleep(0.05)

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        with ends_after(PATIENCE_S, self.process):
            self.process.wait()


def environment():
    """Models find numpy, and the backend's process the library of this Python."""
    libraries = [sysconfig.get_config_var("LIBDIR"), str(FOLDER / "nvidia_pytriton.libs")]
    return {**os.environ, "PYTHONPATH": str(FOLDER), "LD_LIBRARY_PATH": os.pathsep.join(libraries)}
