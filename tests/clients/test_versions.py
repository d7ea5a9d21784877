"""Versions of one model: which of them are served, and how they change while calls come in."""

import os
import threading

import grpc
import numpy as np
import pytest

import onnx_models
from refusals import TIMEOUT_S, refused
from triton_calls import floats, infer

NOT_FOUND = grpc.StatusCode.NOT_FOUND


def lay_down(folder, version, model=None):
    """Version N multiplies by N, so that an answer tells which one gave it."""
    path = folder / "counted" / str(version)
    path.mkdir(parents=True, exist_ok=True)
    # As a careful operator does it: the file is there in one piece or not at all.
    (path / "new").write_bytes(onnx_models.scaled(version) if model is None else model)
    os.replace(path / "new", path / "model.onnx")


@pytest.fixture
def counted(repository):
    """A repository whose model `counted` has these versions and settings."""
    folder = repository()

    def lay(versions=(1, 2, 3), settings=None):
        for version in versions:
            lay_down(folder, version)
        if settings is not None:
            (folder / "counted/model.toml").write_text(settings)
        return folder

    return lay


def factor(client, version=""):
    """By what the answer was multiplied, and which version says to have given it."""
    result = infer(client, "counted", {"model_version": version}, x=np.ones(1, np.float32))
    return int(result.as_numpy("y")[0]), int(result.get_response().model_version)


def index(client):
    return {int(each.version): each.state for each in client.get_model_repository_index().models}


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        (None, [3]),
        ('versions = "latest"', [3]),
        ('versions = "latest 2"', [2, 3]),
        ('versions = "latest 9"', [1, 2, 3]),
        ('versions = "all"', [1, 2, 3]),
        ("versions = [1, 3]", [1, 3]),
        ("versions = [1]", [1]),
    ],
)
def test_the_policy_says_which_versions_are_served(serve, counted, triton_client, policy, served):
    client = triton_client(serve(counted(settings=policy)))
    assert factor(client) == (max(served), max(served))
    for version in (1, 2, 3):
        if version in served:
            assert factor(client, str(version)) == (version, version)
            assert client.is_model_ready("counted", str(version))
        else:
            assert not client.is_model_ready("counted", str(version))
            with refused(NOT_FOUND, "counted", str(version)):
                factor(client, str(version))
    assert list(client.get_model_metadata("counted").versions) == [str(version) for version in served]
    assert index(client) == {version: "READY" for version in served}


def test_versions_are_numbers_and_not_text(serve, counted, triton_client):
    client = triton_client(serve(counted((2, 9, 10))))
    assert factor(client) == (10, 10)


def test_a_version_that_is_listed_and_not_there_is_told(serve, counted, triton_client):
    client = triton_client(serve(counted((1,), "versions = [1, 5]")))
    assert factor(client) == (1, 1)
    models = client.get_model_repository_index().models
    assert [(each.version, each.state) for each in models] == [("1", "READY"), ("5", "UNAVAILABLE")]
    assert "versions" in models[1].reason and "no folder" in models[1].reason
    with refused(grpc.StatusCode.UNAVAILABLE, "5"):
        factor(client, "5")


def test_a_broken_version_does_not_hide_the_good_one_beneath_it(serve, counted, triton_client):
    folder = counted((1, 2), 'versions = "latest 2"')
    lay_down(folder, 2, b"garbage")
    client = triton_client(serve(folder))
    assert index(client) == {1: "READY", 2: "UNAVAILABLE"}
    assert factor(client) == (1, 1)


class Callers:
    """Threads that call without a pause and keep what they were told."""

    def __init__(self, server, triton_client, count=3):
        self._client = triton_client(server)
        self.told, self.failures = [], []
        self._stopped, self._answered = threading.Event(), threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(count)]

    def _call(self):
        while not self._stopped.is_set():
            try:
                self.told.append(factor(self._client))
            except Exception as error:
                self.failures.append(error)
            self._answered.release()

    def wait_for(self, calls):
        """Waits for so many more calls."""
        for _ in range(calls):
            assert self._answered.acquire(timeout=TIMEOUT_S)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)
            assert not thread.is_alive()


def test_a_new_version_takes_over_without_a_failed_call(serve, counted, triton_client):
    server = serve(folder := counted())
    client = triton_client(server)
    with Callers(server, triton_client) as callers:
        callers.wait_for(30)
        lay_down(folder, 4)
        callers.wait_for(30)
        assert factor(client) == (3, 3), "a file alone changes nothing"
        client.load_model("counted", client_timeout=TIMEOUT_S)
        assert factor(client) == (4, 4)
        callers.wait_for(60)
    assert not callers.failures
    assert set(callers.told) == {(3, 3), (4, 4)}
    assert callers.told[-1] == (4, 4)
    assert not client.is_model_ready("counted", "3")
    assert index(client)[4] == "READY" and index(client).get(3) != "READY"


def test_a_changed_file_takes_over_without_a_failed_call(serve, counted, triton_client):
    server = serve(folder := counted((3,)))
    client = triton_client(server)
    with Callers(server, triton_client) as callers:
        callers.wait_for(30)
        lay_down(folder, 3, onnx_models.scaled(7))
        client.load_model("counted", client_timeout=TIMEOUT_S)
        assert factor(client) == (7, 3)
        callers.wait_for(60)
    assert not callers.failures
    assert set(callers.told) == {(3, 3), (7, 3)}


def test_loading_over_and_over_loses_no_call(serve, counted, triton_client):
    server = serve(folder := counted((1,)))
    client = triton_client(server)
    with Callers(server, triton_client) as callers:
        for version in range(2, 12):
            lay_down(folder, version)
            client.load_model("counted", client_timeout=TIMEOUT_S)
            assert factor(client) == (version, version)
    assert not callers.failures
    assert all(factor == version for factor, version in callers.told)


def test_a_new_version_that_is_broken_leaves_the_old_one_serving(serve, counted, triton_client):
    server = serve(folder := counted())
    client = triton_client(server)
    with Callers(server, triton_client) as callers:
        callers.wait_for(30)
        lay_down(folder, 4, b"garbage")
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "counted", "4", "model.onnx"):
            client.load_model("counted", client_timeout=TIMEOUT_S)
        callers.wait_for(60)
    assert not callers.failures and set(callers.told) == {(3, 3)}
    assert index(client)[3] == "READY" and index(client)[4] == "UNAVAILABLE"


def is_told(message):
    """Until a gateway learns that a model is gone it holds the failures against its backends."""
    return "unloaded" in message or "failed too much" in message


def test_calls_while_a_model_is_unloaded_end_with_an_answer_or_a_sentence(serve, counted, triton_client):
    server = serve(counted())
    client = triton_client(server)
    with Callers(server, triton_client) as callers:
        callers.wait_for(30)
        client.unload_model("counted", client_timeout=TIMEOUT_S)
        with refused(grpc.StatusCode.UNAVAILABLE, "counted", "unloaded"):
            factor(client)
        callers.wait_for(30)
    assert callers.told and callers.failures
    for error in callers.failures:
        assert error.status() == "StatusCode.UNAVAILABLE" and is_told(error.message()), error
    client.load_model("counted", client_timeout=TIMEOUT_S)
    assert factor(client) == (3, 3)


def test_a_call_in_flight_outlives_the_unloading_of_its_model(serve, repository, open_inference, triton_client):
    server = serve(repository("slow"))
    client = open_inference(server)
    slow, quick = (client.raw("slow", iterations=np.array(turns, np.int64)) for turns in (6000, 0))
    call = client.stub.ModelInfer.future(slow, timeout=TIMEOUT_S)
    # On the same connection, so that the slow call is with the server once this is answered.
    client.infer(quick)
    triton_client(server).unload_model("slow", client_timeout=TIMEOUT_S)
    with refused(grpc.StatusCode.UNAVAILABLE, "slow", "unloaded"):
        client.infer(quick)
    assert 0.49 < client.outputs(call.result(timeout=TIMEOUT_S))["y"] < 0.51


def test_a_changed_policy_counts_from_the_next_load_on(serve, counted, triton_client):
    server = serve(folder := counted())
    client = triton_client(server)
    (folder / "counted/model.toml").write_text('versions = "all"\n')
    client.load_model("counted", client_timeout=TIMEOUT_S)
    assert [factor(client, str(version))[0] for version in (1, 2, 3)] == [1, 2, 3]
    (folder / "counted/model.toml").write_text("versions = [2]\n")
    client.load_model("counted", client_timeout=TIMEOUT_S)
    assert factor(client) == (2, 2)
    (folder / "counted/model.toml").write_text("versions = []\n")
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "model.toml", "versions"):
        client.load_model("counted", client_timeout=TIMEOUT_S)
    assert factor(client) == (2, 2)


def test_statistics_are_kept_for_each_version(serve, counted, triton_client):
    client = triton_client(serve(counted(settings='versions = "all"')))
    for version, calls in ((1, 2), (3, 5)):
        for _ in range(calls):
            factor(client, str(version))
    stats = client.get_inference_statistics("counted").model_stats
    assert {each.version: each.inference_stats.success.count for each in stats} == {"1": 2, "2": 0, "3": 5}


def test_a_model_may_come_and_go_while_others_are_called(serve, counted, triton_client, repository):
    server = serve(counted())
    client = triton_client(server)
    with Callers(server, triton_client) as callers:
        repository("add")
        client.load_model("add", client_timeout=TIMEOUT_S)
        assert infer(client, "add", a=floats(1, 4), b=floats(1, 4)).as_numpy("sum").shape == (1, 4)
        client.unload_model("add", client_timeout=TIMEOUT_S)
        callers.wait_for(30)
    assert not callers.failures
