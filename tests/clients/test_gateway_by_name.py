"""A gateway in front of servers that do not list their models: it asks for those that calls name."""

import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from conftest import FIXTURES
from minimal_server import Minimal
from process import PATIENCE_S, Gateway, Server
from refusals import refused
from triton_calls import floats, infer

pytestmark = pytest.mark.direct("it has gateways of its own")

NOT_FOUND = grpc.StatusCode.NOT_FOUND
ONE = np.array([7], np.int32)

# The shortest pause between two surveys of a backend is half a second.
OFTEN = "balance.survey_interval=500ms"


@pytest.fixture
def minimal(protos):
    server = Minimal(protos, echo=["1"], steps=["1", "2"], slow=["1"])
    yield server
    server.stop()


@pytest.fixture
def gateway(tmp_path):
    """Starts one that ends with the test: `gateway(*servers)`."""
    started = []

    def start(*servers, settings=()):
        started.append(Gateway([server.address for server in servers], tmp_path / "gateway.log", settings))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def eventually(what):
    ends = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_call_finds_a_model_that_no_list_has(minimal, gateway, triton_client):
    client = triton_client(gateway(minimal))
    assert not client.get_model_repository_index().models
    result = infer(client, "echo", {"request_id": "mine"}, x=ONE)
    assert result.as_numpy("y").tolist() == [7]
    assert (result.get_response().id, result.get_response().model_version) == ("mine", "")
    assert [each.name for each in client.get_model_repository_index().models] == ["echo"]
    assert client.is_model_ready("echo")


def test_questions_about_models_find_them_too(minimal, gateway, triton_client):
    client = triton_client(gateway(minimal))
    metadata = client.get_model_metadata("steps")
    assert (metadata.platform, list(metadata.versions)) == ("minimal", ["1", "2"])
    with refused(grpc.StatusCode.UNIMPLEMENTED):
        client.get_model_config("steps")
    with refused(NOT_FOUND, "nobody"):
        client.get_model_metadata("nobody")


def test_calls_that_come_while_a_model_is_asked_for_wait_for_the_answer(minimal, gateway, triton_client):
    client = triton_client(gateway(minimal))
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: infer(client, "echo", x=ONE).as_numpy("y")[0], range(32)))
    assert answers == [7] * 32
    assert minimal.asked["echo", ""] == 1


def test_a_name_that_nobody_has_is_asked_for_once_however_often_it_is_called(minimal, gateway, triton_client):
    client = triton_client(gateway(minimal))
    for _ in range(50):
        with refused(NOT_FOUND, "nobody"):
            infer(client, "nobody", x=ONE)
    assert minimal.asked["nobody", ""] == 1 and minimal.asked["ModelInfer"] == 0


def test_each_version_is_asked_for_by_itself(minimal, gateway, triton_client):
    client = triton_client(gateway(minimal))
    for version in ("", "1", "2"):
        assert infer(client, "steps", {"model_version": version}, x=ONE).as_numpy("y").tolist() == [7]
    with refused(NOT_FOUND, "steps", "3"):
        infer(client, "steps", {"model_version": "3"}, x=ONE)


def test_what_was_found_is_known_until_its_server_says_otherwise(minimal, gateway, triton_client):
    client = triton_client(gateway(minimal, settings=[OFTEN]))
    infer(client, "echo", x=ONE)
    infer(client, "steps", x=ONE)
    del minimal.models["steps"]
    before = minimal.asked["RepositoryIndex"]
    eventually(lambda: minimal.asked["RepositoryIndex"] >= before + 2)
    infer(client, "echo", x=ONE)
    eventually(lambda: [each.name for each in client.get_model_repository_index().models] == ["echo"])
    with refused(NOT_FOUND, "steps"):
        infer(client, "steps", x=ONE)


def test_all_servers_that_have_a_model_are_called(protos, minimal, gateway, triton_client):
    other = Minimal(protos, echo=["1"])
    client = triton_client(gateway(minimal, other, settings=["balance.policy=round-robin"]))
    for _ in range(20):
        infer(client, "echo", x=ONE)
    assert minimal.asked["ModelInfer"] and other.asked["ModelInfer"]
    other.stop()


def test_a_slow_call_outlives_the_few_pings_that_others_take(minimal, gateway, triton_client):
    """The servers of gRPC close a connection on which the fourth ping comes before an answer."""
    client = triton_client(gateway(minimal))
    assert infer(client, "slow", x=ONE).as_numpy("y").tolist() == [7]


def test_servers_that_list_their_models_and_such_that_do_not_stand_side_by_side(
    minimal, gateway, triton_client, tmp_path
):
    own = Server(FIXTURES, tmp_path / "own.log")
    client = triton_client(gateway(minimal, own))
    assert infer(client, "echo", x=ONE).as_numpy("y").tolist() == [7]
    assert infer(client, "identity_fp32", x=floats(3)).as_numpy("y").tolist() == [0, 1, 2]
    with refused(NOT_FOUND, "nobody"):
        infer(client, "nobody", x=ONE)
    names = {each.name for each in client.get_model_repository_index().models}
    assert {"echo", "identity_fp32"} <= names
    own.stop()
