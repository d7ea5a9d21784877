"""`tritonclient`, unmodified: calls in a stream. Each is a call of its own, and answers keep their order."""

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from refusals import TIMEOUT_S, check, refused
from triton_calls import Answers, floats, inputs_of

ENDLESS = inputs_of({"iterations": np.array(2_000_000_000, np.int64)})


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def stream(client, answers):
    client.start_stream(answers, stream_timeout=TIMEOUT_S)
    yield client
    client.stop_stream(cancel_requests=True)


def send(stream, count, model="identity_fp32", **options):
    stream.async_stream_infer(model, inputs_of({"x": floats(count)}), **options)


def test_a_stream_answers_every_call_in_order(stream, answers):
    # More than are in flight at one time.
    for index in range(300):
        send(stream, index, request_id=str(index))
    for index in range(300):
        result = answers.next()
        assert result.get_response().id == str(index)
        assert np.array_equal(result.as_numpy("y"), floats(index))


def test_a_quick_call_waits_for_the_slow_one_before_it(stream, answers):
    slow = inputs_of({"iterations": np.array(2000, np.int64)})
    stream.async_stream_infer("slow", slow, request_id="slow")
    send(stream, 1, request_id="quick")
    assert [answers.next().get_response().id for _ in range(2)] == ["slow", "quick"]


def test_a_failure_is_an_answer_and_the_stream_goes_on(stream, answers):
    send(stream, 1, model="nobody")
    send(stream, 1, model="identity_int32")
    send(stream, 1)
    for words in (["nobody"], ["x", "INT32", "FP32"]):
        with pytest.raises(triton.InferenceServerException) as caught:
            answers.next()
        assert all(word in caught.value.message() for word in words), caught.value
    assert np.array_equal(answers.next().as_numpy("y"), floats(1))


def test_a_stream_that_is_stopped_answers_what_is_in_flight_first(client, answers):
    client.start_stream(answers, stream_timeout=TIMEOUT_S)
    for index in range(20):
        send(client, index)
    client.stop_stream()
    assert [len(answers.next().as_numpy("y")) for _ in range(20)] == list(range(20))


def test_a_client_may_start_one_stream_after_another(client, answers):
    for index in range(3):
        client.start_stream(answers, stream_timeout=TIMEOUT_S)
        send(client, index)
        assert len(answers.next().as_numpy("y")) == index
        client.stop_stream()


def test_a_stream_may_be_compressed(client, answers):
    client.start_stream(answers, stream_timeout=TIMEOUT_S, compression_algorithm="gzip")
    for count in (1, 50_000):
        send(client, count)
        assert np.array_equal(answers.next().as_numpy("y"), floats(count))
    client.stop_stream()


def test_options_of_calls_are_taken_in_a_stream_too(stream, answers):
    send(stream, 1, enable_empty_final_response=True, priority=1, timeout=1_000_000, parameters={"of": "my own"})
    assert len(answers.next().as_numpy("y")) == 1


def test_every_answer_says_that_it_is_the_last_of_its_call(stream, answers):
    """Triton says so of every call, and clients wait until they read it."""
    send(stream, 1, enable_empty_final_response=True)
    send(stream, 1)
    for _ in range(2):
        assert answers.next().get_response().parameters["triton_final_response"].bool_param


def test_failures_end_the_stream_where_that_was_asked_for(client, answers):
    client.start_stream(answers, stream_timeout=TIMEOUT_S, headers={"triton_grpc_error": "true"})
    send(client, 2)
    send(client, 1, model="nobody")
    assert len(answers.next().as_numpy("y")) == 2
    with refused(grpc.StatusCode.NOT_FOUND, "nobody"):
        answers.next()
    client.stop_stream(cancel_requests=True)


def test_a_streams_timeout_ends_it(client, answers):
    client.start_stream(answers, stream_timeout=0.3)
    client.async_stream_infer("slow", ENDLESS)
    with pytest.raises(triton.InferenceServerException) as caught:
        answers.next()
    if not caught.value.status():
        # The call was answered before its stream.
        assert "deadline exceeded" in caught.value.message()
        with pytest.raises(triton.InferenceServerException) as caught:
            answers.next()
    check(caught.value, grpc.StatusCode.DEADLINE_EXCEEDED)
    client.stop_stream(cancel_requests=True)


def test_a_stream_may_be_cancelled_while_it_is_busy(client, answers):
    client.start_stream(answers, stream_timeout=TIMEOUT_S)
    for _ in range(10):
        client.async_stream_infer("slow", ENDLESS)
    client.stop_stream(cancel_requests=True)
    with pytest.raises(triton.InferenceServerException) as caught:
        answers.next()
    check(caught.value, grpc.StatusCode.CANCELLED)
    client.start_stream(answers, stream_timeout=TIMEOUT_S)
    send(client, 3)
    assert len(answers.next().as_numpy("y")) == 3
    client.stop_stream()


def test_a_failure_in_a_stream_carries_the_id_of_its_call(oip):
    """The client above drops it, so this one is made from our own protos."""
    requests = [oip.raw("identity_int32", x=floats(1)), oip.raw("identity_fp32", x=floats(1))]
    for request, name in zip(requests, ("wrong", "right")):
        request.id = name
    wrong, right = oip.stub.ModelStreamInfer(iter(requests), timeout=TIMEOUT_S)
    assert "INT32" in wrong.error_message and wrong.infer_response.id == "wrong"
    assert right.error_message == "" and right.infer_response.id == "right"


def test_every_call_of_a_stream_has_a_deadline_of_its_own(serve, repository, open_inference):
    client = open_inference(serve(repository("slow"), "limits.default_deadline=300ms"))
    requests = [client.raw("slow", iterations=np.array(count, np.int64)) for count in (2_000_000_000, 1)]
    late, quick = client.stub.ModelStreamInfer(iter(requests), timeout=TIMEOUT_S)
    assert "deadline exceeded" in late.error_message
    assert quick.error_message == ""
