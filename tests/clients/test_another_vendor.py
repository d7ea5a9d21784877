"""NVIDIA's Triton behind a gateway: the tests of our own server that hold for it too, and what it does otherwise."""

import urllib.request

import grpc
import numpy as np
import pytest
import tritonclient.grpc as tritonclient

import triton_models
import triton_server
from minimal_server import Minimal
from process import Gateway, Process, Server
from refusals import TIMEOUT_S, refused

# Collected here once more, where `fixtures` is Triton. What is missing asks for models that only we have (`slow`,
# `scalar`), for our own words, or for what the two do otherwise: see the end.
from test_datatypes import test_every_type_comes_back_bit_by_bit, test_strings_are_any_bytes
from test_triton_inference import (
    test_a_call_answers_with_its_id_its_model_and_the_version_used,
    test_a_large_tensor_goes_through_whole,
    test_a_version_is_chosen_and_must_be_there,
    test_an_asynchronous_call_calls_back,
    test_calls_of_two_sizes_of_batch_that_disagree_fail_alone,
    test_classes_without_labels_are_values_and_numbers,
    test_gzip_works_in_requests_and_answers,
    test_headers_of_any_kind_do_no_harm,
    test_many_calls_at_one_time_get_each_its_own_answer,
    test_priority_timeout_and_parameters_of_ones_own_are_taken,
    test_the_order_of_inputs_is_free,
)
from test_triton_stream import (
    answers,
    stream,
    test_a_client_may_start_one_stream_after_another,
    test_a_failure_in_a_stream_carries_the_id_of_its_call,
    test_a_failure_is_an_answer_and_the_stream_goes_on,
    test_a_stream_answers_every_call_in_order,
    test_a_stream_may_be_compressed,
    test_a_stream_that_is_stopped_answers_what_is_in_flight_first,
    test_every_answer_says_that_it_is_the_last_of_its_call,
    test_failures_end_the_stream_where_that_was_asked_for,
    test_options_of_calls_are_taken_in_a_stream_too,
)
from test_typed_contents import (
    test_a_raw_request_has_a_raw_answer,
    test_a_wrong_count_is_refused_with_both_values,
    test_another_list_than_the_types_own_is_refused_with_both_names,
    test_classes_of_a_typed_request_are_typed_too,
    test_every_type_that_has_a_list_comes_back_in_that_list,
    test_half_floats_exist_only_raw,
    test_narrow_integers_take_the_low_bytes,
    test_nothing_is_a_tensor_too,
    test_several_typed_inputs_and_a_selection_of_outputs,
    test_typed_and_raw_tensors_do_not_mix,
)
from triton_calls import floats, infer

pytestmark = pytest.mark.direct("it has gateways of its own")

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.fixture(scope="module")
def triton(tmp_path_factory):
    triton_server.needed()
    folder = tmp_path_factory.mktemp("triton")
    server = triton_server.Triton(triton_models.lay_down(folder / "models"), folder)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def fixtures(triton, tmp_path_factory):
    gateway = Gateway([triton.address], tmp_path_factory.mktemp("gateway") / "gateway.log")
    yield gateway
    gateway.stop()


@pytest.fixture
def beside(triton, tmp_path):
    """A gateway with Triton and other servers behind it: `beside(*servers)`."""
    started = []

    def start(*servers):
        addresses = [triton.address, *(server.address for server in servers)]
        started.append(Gateway(addresses, tmp_path / "gateway.log"))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def plus(client, rows=1):
    """A call of `add`; the sums."""
    return infer(client, "add", a=floats(rows, 4), b=floats(rows, 4)).as_numpy("sum").tolist()


def test_questions_are_answered_as_triton_answers_them(client, triton, triton_client):
    direct = triton_client(triton)
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("add") and client.is_model_ready("add", "1")
    assert not client.is_model_ready("nobody") and not client.is_model_ready("add", "2")
    assert client.get_model_metadata("add") == direct.get_model_metadata("add")
    assert client.get_model_config("add") == direct.get_model_config("add")
    index = client.get_model_repository_index().models
    assert [(each.name, each.version, each.state) for each in index] == sorted(
        (each.name, each.version, each.state) for each in direct.get_model_repository_index().models
    )


def test_statistics_are_tritons(client):
    plus(client)
    [before] = client.get_inference_statistics("add").model_stats
    plus(client, rows=3)
    [after] = client.get_inference_statistics("add").model_stats
    assert after.inference_count - before.inference_count == 3
    assert after.inference_stats.success.count - before.inference_stats.success.count == 1


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_every_size_of_batch_goes_through(client, rows):
    assert plus(client, rows) == (2 * floats(rows, 4)).tolist()


def test_its_refusals_keep_their_code_and_their_sentence(client, triton, triton_client):
    """They are the caller's doing: the gateway neither repeats them nor holds them against the server."""
    failing = [
        {"a": floats(1, 4)},
        {"a": floats(1, 4), "b": floats(1, 5)},
        {"a": floats(9, 4), "b": floats(9, 4)},
        {"a": np.ones((1, 4), np.int32), "b": floats(1, 4)},
    ]
    direct = triton_client(triton)
    for _ in range(10):
        for arrays in failing:
            with pytest.raises(Exception) as expected:
                infer(direct, "add", **arrays)
            # Without the id of the request, which differs.
            with refused(INVALID, expected.value.message().rpartition("<id_unknown>] ")[2]):
                infer(client, "add", **arrays)
    assert plus(client) == (2 * floats(1, 4)).tolist()


def test_an_answer_without_a_load_report_is_an_answer(client, fixtures):
    for _ in range(20):
        plus(client)
    [triton] = fixtures.endpoints()
    [add] = [model for model in triton["models"] if model["name"] == "add"]
    assert (add["breaker"], add["predicted_s"], add["in_flight"]) == ("admitting", None, 0)
    with urllib.request.urlopen(f"http://{fixtures.admin}/metrics", timeout=TIMEOUT_S) as page:
        assert page.status == 200


def test_a_model_is_unloaded_and_loaded_in_triton(client):
    client.unload_model("identity_uint8", client_timeout=TIMEOUT_S)
    x = np.ones(2, np.uint8)
    assert not client.is_model_ready("identity_uint8")
    with refused(grpc.StatusCode.UNAVAILABLE, "identity_uint8"):
        infer(client, "identity_uint8", x=x)
    client.load_model("identity_uint8", client_timeout=TIMEOUT_S)
    assert infer(client, "identity_uint8", x=x).as_numpy("y").tolist() == [1, 1]
    with refused(grpc.StatusCode.INTERNAL, "nobody"):
        client.load_model("nobody", client_timeout=TIMEOUT_S)


def test_servers_of_three_kinds_with_models_of_their_own_stand_behind_one_gateway(
    beside, triton_client, tmp_path, repository, protos
):
    own, minimal = Server(repository("matmul"), tmp_path / "own.log"), Minimal(protos, echo=["1"])
    client = triton_client(beside(own, minimal))
    assert plus(client) == (2 * floats(1, 4)).tolist()
    assert infer(client, "matmul", x=floats(2, 16)).get_response().model_name == "matmul"
    assert infer(client, "echo", x=np.array([7], np.int32)).as_numpy("y").tolist() == [7]
    with refused(NOT_FOUND, "nobody"):
        infer(client, "nobody", x=floats(1))
    assert {"add", "matmul", "echo"} <= {each.name for each in client.get_model_repository_index().models}
    own.stop()
    minimal.stop()


def test_one_model_may_be_served_by_two_kinds_at_once(beside, triton_client, tmp_path, repository):
    own = Process("worker", ["--models", repository("add")], tmp_path / "own.log")
    gateway = beside(own)
    client = triton_client(gateway)
    for _ in range(40):
        assert plus(client) == (2 * floats(1, 4)).tolist()
    # Only ours reports its load.
    predicted = {
        endpoint["address"]: model["predicted_s"] is not None
        for endpoint in gateway.endpoints()
        for model in endpoint["models"]
        if model["name"] == "add"
    }
    assert predicted[own.address]
    own.stop()
    for _ in range(20):
        assert plus(client) == (2 * floats(1, 4)).tolist()


def test_outputs_come_in_tritons_order(client):
    """Ours come in the order in which they were asked for, Triton's in that of its configuration."""
    names = ("difference", "sum")
    outputs = [tritonclient.InferRequestedOutput(name) for name in names]
    response = infer(client, "add", {"outputs": outputs}, a=floats(1, 4), b=floats(1, 4)).get_response()
    assert sorted(output.name for output in response.outputs) == sorted(names)


def test_an_empty_tensor_needs_its_contents(oip):
    """To us an input of no elements may come without any; the gateway leaves that to the server."""
    request = oip.request("identity_fp32")
    request.inputs.add(name="x", datatype="FP32", shape=[0])
    with refused(INVALID, "x"):
        oip.infer(request)
