"""What the tests share: servers, channels, clients."""

import shutil
from contextlib import ExitStack

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from oip import OpenInference
from process import PROJECT, Server, Split
from protos import Protos

FIXTURES = PROJECT / "tests/fixtures/models"
EXAMPLES = PROJECT / "examples/models"


def pytest_addoption(parser):
    parser.addoption("--through-gateway", action="store_true", help="call each server through a gateway in front of it")


def pytest_configure(config):
    config.addinivalue_line("markers", "direct(why): by its nature not through a gateway")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--through-gateway"):
        for item in items:
            for mark in item.iter_markers("direct"):
                item.add_marker(pytest.mark.skip(reason=mark.args[0]))


@pytest.fixture(scope="session")
def deployed(request):
    """What a server of models is made by."""
    return Split if request.config.getoption("--through-gateway") else Server


@pytest.fixture(scope="session")
def protos(tmp_path_factory):
    return Protos(tmp_path_factory.mktemp("protos"))


def running(deployed, models, folder, *settings):
    """A server for as long as the generator is held."""
    server = deployed(models, folder / "server.log", settings)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def fixtures(deployed, tmp_path_factory):
    """A server of all fixtures. Tests leave its models as they are."""
    yield from running(deployed, FIXTURES, tmp_path_factory.mktemp("fixtures"))


@pytest.fixture(scope="session")
def examples(deployed, tmp_path_factory):
    """A server of the example models. Tests leave its models as they are."""
    yield from running(deployed, EXAMPLES, tmp_path_factory.mktemp("examples"))


@pytest.fixture
def serve(deployed, tmp_path):
    """Starts servers of a test's own, which end with the test: `serve(models, "key=value", …)`."""
    with ExitStack() as servers:

        def start(models, *settings):
            server = deployed(models, tmp_path / f"server-{len(list(tmp_path.glob('*.log')))}.log", settings)
            servers.callback(server.stop)
            return server

        yield start


@pytest.fixture
def repository(tmp_path):
    """An empty repository, and how to copy fixtures into it: `repository("add", "slow")`."""
    folder = tmp_path / "models"
    folder.mkdir()

    def copy(*names, source=FIXTURES):
        for name in names:
            shutil.copytree(source / name, folder / name)
        return folder

    return copy


@pytest.fixture
def connect():
    """Opens channels that are closed with the test: `connect(server)`."""
    with ExitStack() as channels:
        yield lambda server, **options: channels.enter_context(
            grpc.insecure_channel(server.address, options=list(options.items()))
        )


@pytest.fixture
def triton_client():
    """Opens Triton clients that are closed with the test: `triton_client(server)`."""
    with ExitStack() as clients:
        yield lambda server: clients.enter_context(triton.InferenceServerClient(server.address))


@pytest.fixture
def client(fixtures, triton_client):
    """A Triton client of the fixtures."""
    return triton_client(fixtures)


@pytest.fixture
def open_inference(protos, connect):
    """A client made from our own protos: `open_inference(server)`."""
    return lambda server: OpenInference(protos, connect(server))


@pytest.fixture
def oip(fixtures, open_inference):
    """A client of the fixtures made from our own protos, that sees afterwards that the server is unharmed."""
    client = open_inference(fixtures)
    yield client
    assert fixtures.is_running()
    ones = np.ones((1, 4), np.float32)
    assert client.outputs(client.infer(client.raw("add", a=ones, b=ones)))["sum"].tolist() == [[2.0] * 4]
