"""What the manifests set is what the program takes. It is asked to serve what does not exist, and so says only that."""

import os
import subprocess

import pytest
from rules import containers, variables

from project import PROJECT

BINARY = PROJECT / os.environ.get("INFERGATE_BIN", "target/debug/infergate")


def start(told, folder):
    """The exit code, 2 for a wrong configuration, and the errors."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("INFERGATE_")}
    command = [BINARY, "serve", "--models", folder / "missing"]
    run = subprocess.run(command, env=others | told, capture_output=True, text=True, timeout=60)
    return run.returncode, run.stderr


def settings_of(objects):
    for where, _, container in containers(objects):
        names = {name for name in variables(container) if name.startswith("INFERGATE_")}
        yield where, {name: variables(container)[name] for name in names}


def test_the_program_takes_the_values_of_all_variables(rendered, tmp_path):
    for where, told in settings_of(rendered):
        assert told
        code, errors = start(told, tmp_path)
        assert (code, "INFERGATE_" in errors) == (1, False), f"{where}: {errors}"


def test_the_program_takes_the_arguments_of_every_container(rendered):
    """Models and a cluster are missing here, so that each ends with that, and not with the code of a wrong use."""
    missing = {"worker": "/models", "gateway": "cluster"}
    started = set()
    for where, _, container in containers(rendered):
        role = container["args"][0]
        arguments = [argument.replace("$(ZONE)", "a").replace("$(NAMESPACE)", "infergate") for argument in container["args"]]
        others = {name: value for name, value in os.environ.items() if not name.startswith(("INFERGATE_", "KUBE"))}
        told = {name: value for name, value in variables(container).items() if name.startswith("INFERGATE_")}
        # Any free port will do here.
        told |= {"INFERGATE_LISTEN": "127.0.0.1:0", "INFERGATE_ADMIN": "127.0.0.1:0", "HOME": "/nonexistent"}
        run = subprocess.run([BINARY, *arguments], env=others | told, capture_output=True, text=True, timeout=60)
        assert run.returncode == 1, f"{where}: {run.stderr}"
        assert missing[role] in run.stderr, f"{where}: {run.stderr}"
        started.add(role)
    assert started == {"worker", "gateway"}


@pytest.mark.parametrize("name, value", [("INFERGATE_LIMITS_MESSAGE_BYTES", "1Gi"), ("INFERGATE_LOG_FORMAT", "JSON")])
def test_a_wrong_value_is_noticed(name, value, tmp_path):
    code, errors = start({name: value}, tmp_path)
    assert code == 2 and name in errors
