"""grpc.health.v1, asked by its public client where that has the call."""

import queue
import shutil
import threading

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from conftest import FIXTURES
from refusals import TIMEOUT_S, refused
from triton_calls import floats, infer

UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN = 0, 1, 2, 3

SERVICES = [
    "",
    "inference.GRPCInferenceService",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
    "PredictionService",
    "ModelService",
]


@pytest.fixture
def health(connect):
    return lambda server: health_pb2_grpc.HealthStub(connect(server))


def check(stub, service):
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S).status


class Watch:
    """A watch whose answers are read by a thread of its own, so that waiting for one is bounded."""

    def __init__(self, stub, service):
        self.call = stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=3 * TIMEOUT_S)
        self._told = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for answer in self.call:
                self._told.put(answer.status)
        except grpc.RpcError as error:
            self._told.put(error.code())
        else:
            self._told.put("end")

    def next(self):
        return self._told.get(timeout=TIMEOUT_S)

    def has_more(self):
        return not self._told.empty()


@pytest.mark.parametrize("service", [*SERVICES, "model/add", "model/add/1"])
def test_what_serves_is_serving(fixtures, health, service):
    assert check(health(fixtures), service) == SERVING


@pytest.mark.parametrize("service", ["model/zipmap", "model/zipmap/1"])
def test_a_broken_model_is_not_serving(fixtures, health, service):
    assert check(health(fixtures), service) == NOT_SERVING


NOBODY = ["nobody", "model/nobody", "model/add/2", "model/", "model/../add", "add", "model/add/x"]


@pytest.mark.parametrize("service", NOBODY)
def test_a_name_that_nobody_has_is_not_found(fixtures, health, service):
    with refused(grpc.StatusCode.NOT_FOUND):
        check(health(fixtures), service)


def test_the_list_has_the_server_its_services_and_its_models(protos, fixtures, connect):
    stub = protos.stub(connect(fixtures), "grpc.health.v1.Health")
    response = stub.List(protos["grpc.health.v1.HealthListRequest"](), timeout=TIMEOUT_S)
    statuses = {name: answer.status for name, answer in response.statuses.items()}
    assert {statuses[service] for service in SERVICES} == {SERVING}
    assert statuses["model/add"] == statuses["model/add/1"] == SERVING
    assert statuses["model/zipmap"] == statuses["model/zipmap/1"] == NOT_SERVING


def test_a_watch_tells_the_status_at_once_and_then_each_change(serve, repository, health, triton_client):
    server = serve(repository("add", "scalar"))
    stub, client = health(server), triton_client(server)
    watch, other = Watch(stub, "model/add"), Watch(stub, "model/scalar")
    assert watch.next() == SERVING and other.next() == SERVING
    client.unload_model("add")
    assert watch.next() == NOT_SERVING
    client.load_model("add")
    assert watch.next() == SERVING
    client.load_model("add")
    assert check(stub, "model/scalar") == SERVING
    assert not other.has_more() and not watch.has_more()
    for each in (watch, other):
        each.call.cancel()


def test_a_watch_of_an_unknown_model_waits_for_it_to_come(serve, repository, health, triton_client):
    server = serve(folder := repository("scalar"))
    watch = Watch(health(server), "model/add")
    assert watch.next() == SERVICE_UNKNOWN
    shutil.copytree(FIXTURES / "add", folder / "add")
    triton_client(server).load_model("add")
    told = [watch.next()]
    while told[-1] != SERVING:
        told.append(watch.next())
    assert set(told[:-1]) <= {NOT_SERVING}
    watch.call.cancel()


def test_while_it_drains_the_server_says_so_and_still_answers(serve, repository, health, triton_client):
    server = serve(repository("identity_fp32"), "drain.announce=500ms")
    stub, client = health(server), triton_client(server)
    watch, model = Watch(stub, ""), Watch(stub, "model/identity_fp32")
    assert watch.next() == SERVING and model.next() == SERVING
    server.terminate()
    assert watch.next() == NOT_SERVING and model.next() == NOT_SERVING
    assert not client.is_server_ready() and client.is_server_live()
    assert infer(client, "identity_fp32", x=floats(3)).as_numpy("y").shape == (3,)
    assert server.wait() == 0
    # The watch ends with the server, well or because it is gone, but it ends.
    assert watch.next() in ("end", grpc.StatusCode.UNAVAILABLE)


def test_calls_in_flight_are_answered_before_the_server_ends(serve, repository, open_inference):
    server = serve(repository("slow"))
    client = open_inference(server)
    call = client.stub.ModelInfer.future(client.raw("slow", iterations=np.array(8000, np.int64)), timeout=TIMEOUT_S)
    assert not call.done()
    # The call is with the server once a later one, on the same connection, was answered.
    client.infer(client.raw("slow", iterations=np.array(0, np.int64)))
    server.terminate()
    assert client.outputs(call.result(timeout=TIMEOUT_S))["y"] > 0
    assert server.wait() == 0
