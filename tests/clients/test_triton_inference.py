"""`tritonclient`, unmodified: single calls with everything that can be said in one."""

import time

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from process import PROJECT
from refusals import TIMEOUT_S, check, code_and_message, refused
from triton_calls import Answers, floats, infer, inputs_of

INVALID = grpc.StatusCode.INVALID_ARGUMENT
ENDLESS = np.array(2_000_000_000, np.int64)


def test_a_call_answers_with_its_id_its_model_and_the_version_used(client):
    result = infer(client, "add", {"request_id": "call-7"}, a=floats(2, 4), b=floats(2, 4))
    response = result.get_response()
    assert (response.model_name, response.model_version, response.id) == ("add", "1", "call-7")
    assert [output.name for output in response.outputs] == ["sum", "difference"]
    assert np.array_equal(result.as_numpy("sum"), 2 * floats(2, 4))
    assert np.array_equal(result.as_numpy("difference"), np.zeros((2, 4), np.float32))
    assert result.get_response(as_json=True)["id"] == "call-7"
    assert infer(client, "add", a=floats(2, 4), b=floats(2, 4)).get_response().id == ""


def test_outputs_come_as_they_were_asked_for(client):
    outputs = [triton.InferRequestedOutput(name) for name in ("difference", "sum")]
    result = infer(client, "add", {"outputs": outputs}, a=floats(1, 4), b=np.ones((1, 4), np.float32))
    assert [output.name for output in result.get_response().outputs] == ["difference", "sum"]
    assert result.as_numpy("difference").tolist() == [[-1, 0, 1, 2]]
    result = infer(client, "add", {"outputs": outputs[:1]}, a=floats(1, 4), b=floats(1, 4))
    assert result.as_numpy("sum") is None and result.as_numpy("difference") is not None


def test_an_asynchronous_call_calls_back(client):
    answers = Answers()
    arrays = inputs_of({"x": floats(4)})
    client.async_infer("identity_fp32", arrays, answers, request_id="later", client_timeout=TIMEOUT_S)
    result = answers.next()
    assert result.get_response().id == "later"
    assert np.array_equal(result.as_numpy("y"), floats(4))
    client.async_infer("nobody", arrays, answers, client_timeout=TIMEOUT_S)
    with refused(grpc.StatusCode.NOT_FOUND, "nobody"):
        answers.next()


def test_an_asynchronous_call_can_be_taken_back(client):
    answers = Answers()
    call = client.async_infer("slow", inputs_of({"iterations": ENDLESS}), answers, client_timeout=TIMEOUT_S)
    call.cancel()
    with refused(grpc.StatusCode.CANCELLED):
        answers.next()


def test_many_calls_at_one_time_get_each_its_own_answer(client):
    """More than one connection carries at one time."""
    calls = []
    for index in range(400):
        answers = Answers()
        array = np.full(index, index, np.int32)
        client.async_infer("identity_int32", inputs_of({"x": array}), answers, client_timeout=TIMEOUT_S)
        calls.append((array, answers))
    for array, answers in calls:
        assert np.array_equal(answers.next().as_numpy("y"), array)


@pytest.mark.parametrize("count", [3, 100_000])
def test_gzip_works_in_requests_and_answers(client, count):
    x = floats(count)
    result = infer(client, "identity_fp32", {"compression_algorithm": "gzip"}, x=x)
    assert np.array_equal(result.as_numpy("y"), x)


def test_a_compression_that_is_not_served_is_refused_with_those_that_are(client):
    with refused(grpc.StatusCode.UNIMPLEMENTED, "gzip"):
        infer(client, "identity_fp32", {"compression_algorithm": "deflate"}, x=floats(3))


def test_a_large_tensor_goes_through_whole(client):
    x = np.random.default_rng(1).standard_normal(4_000_000).astype(np.float32)
    assert np.array_equal(infer(client, "identity_fp32", x=x).as_numpy("y"), x)


def test_headers_of_any_kind_do_no_harm(client):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"traceparent": trace, "x-user": "somebody", "x-data-bin": b"\0\xff"}
    assert infer(client, "identity_fp32", {"headers": headers}, x=floats(3)).as_numpy("y").shape == (3,)


def test_a_client_that_sees_no_trailers_is_told_in_a_parameter_where_the_time_went(client):
    answer = infer(client, "identity_fp32", {"headers": {"infergate-timing": "parameter"}}, x=floats(3))
    told = answer.get_response().parameters["server_timing"].string_param
    assert "execute;dur=" in told and 'version;desc="1"' in told and 'at;desc="' in told


def test_a_client_timeout_is_a_deadline(client):
    began = time.monotonic()
    with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
        infer(client, "slow", {"client_timeout": 0.3}, iterations=ENDLESS)
    assert time.monotonic() - began < 2


def test_priority_timeout_and_parameters_of_ones_own_are_taken(client):
    parameters = {"text": "t", "flag": True, "count": -3, "ratio": 0.5}
    options = {"priority": 3, "timeout": 5_000_000, "parameters": parameters}
    assert infer(client, "identity_fp32", options, x=floats(3)).as_numpy("y").shape == (3,)


def classes(client, model, output, count, **arrays):
    outputs = [triton.InferRequestedOutput(output, class_count=count)]
    return infer(client, model, {"outputs": outputs}, **arrays).as_numpy(output)


def test_classes_come_best_first_with_their_labels(examples, triton_client):
    seven = np.load(PROJECT / "examples/inputs/seven.npy")
    client = triton_client(examples)
    probs = infer(client, "digits", image=seven).as_numpy("probs")[0]
    best = classes(client, "digits", "probs", 3, image=seven)
    assert best.shape == (1, 3)
    expected = [f"{probs[index]:.6f}:{index}:{index}".encode() for index in np.argsort(-probs)[:3]]
    assert best[0].tolist() == expected and best[0][0].endswith(b":7:7")
    rows = classes(client, "digits", "probs", 1, image=np.repeat(seven, 2, axis=0))
    assert rows.tolist() == [[expected[0]], [expected[0]]]


def test_classes_without_labels_are_values_and_numbers(client):
    assert classes(client, "identity_int32", "y", 2, x=np.array([5, -1, 9], np.int32)).tolist() == [b"9:2", b"5:0"]
    assert classes(client, "identity_fp32", "y", 9, x=floats(2)).tolist() == [b"1.000000:1", b"0.000000:0"]


def test_strings_have_no_classes_and_the_server_lives_on(client):
    strings = np.array([b"a", b"b"], np.object_)
    with refused(INVALID, "y"):
        classes(client, "identity_string", "y", 1, x=strings)
    assert infer(client, "identity_string", x=strings).as_numpy("y").tolist() == [b"a", b"b"]


def test_an_optional_input_may_be_left_out(client):
    x = floats(2)
    assert infer(client, "optional_input", x=x).as_numpy("y").tolist() == [1, 2]
    bias = np.array([10], np.float32)
    assert infer(client, "optional_input", bias=bias, x=x).as_numpy("y").tolist() == [10, 11]


def test_a_version_is_chosen_and_must_be_there(client):
    arrays = {"a": floats(1, 4), "b": floats(1, 4)}
    assert infer(client, "add", {"model_version": "1"}, **arrays).get_response().model_version == "1"
    with refused(grpc.StatusCode.NOT_FOUND, "add", "2"):
        infer(client, "add", {"model_version": "2"}, **arrays)


def test_a_refusal_names_the_tensor_and_both_values(client):
    with refused(INVALID, '"a"', "FP32", "INT32"):
        infer(client, "add", a=np.ones((1, 4), np.int32), b=floats(1, 4))
    with refused(INVALID, '"b"', "[batch,4]", "[1,5]"):
        infer(client, "add", a=floats(1, 4), b=floats(1, 5))


def test_the_order_of_inputs_is_free(client):
    arrays = {"b": np.ones((1, 4), np.float32), "a": floats(1, 4)}
    assert infer(client, "add", **arrays).as_numpy("difference").tolist() == [[-1, 0, 1, 2]]


def test_calls_of_two_sizes_of_batch_that_disagree_fail_alone(client):
    """The model's own arithmetic fails here, after every check of the call was passed."""
    with pytest.raises(triton.InferenceServerException) as caught:
        infer(client, "add", a=floats(2, 4), b=floats(3, 4))
    code, message = code_and_message(caught.value)
    assert code in (INVALID, grpc.StatusCode.INTERNAL), message
    check(caught.value, code)
    assert str(PROJECT) not in message
    assert np.array_equal(infer(client, "add", a=floats(2, 4), b=floats(2, 4)).as_numpy("sum"), 2 * floats(2, 4))
