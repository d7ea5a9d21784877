"""Calls that contradict themselves, the protocol or the model: the right code, a short message that names the tensor
and both values, and a server that is unharmed (which the fixture `oip` sees after each test)."""

import grpc
import numpy as np
import pytest

from refusals import TIMEOUT_S, code_and_message, refused
from tensors import SEED

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
TOO_LARGE = grpc.StatusCode.RESOURCE_EXHAUSTED

ONES = np.ones(4, np.float32)


def described(oip, shape, raw=b"", name="x", datatype="FP32", model="identity_fp32"):
    """A request with one tensor that may be described in any way."""
    request = oip.request(model, raw_input_contents=[raw])
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    return request


def test_unknown_models_and_versions(oip):
    with refused(NOT_FOUND, "nobody"):
        oip.infer(oip.raw("nobody", x=ONES))
    request = oip.raw("identity_fp32", x=ONES)
    request.model_version = "7"
    with refused(NOT_FOUND, "identity_fp32", "7"):
        oip.infer(request)


@pytest.mark.parametrize("version", ["1.0", "1 ", " 1", "+1", "-1", "01", "one", "1\0", "9" * 30, "1" * 5000])
def test_versions_that_are_no_decimal_number(oip, version):
    request = oip.raw("identity_fp32", x=ONES)
    request.model_version = version
    with refused(INVALID, "version"):
        oip.infer(request)


@pytest.mark.parametrize("name", ["", "a/b", "..", "../models/add", "/etc", "add\0", "add ", ".add", "a" * 129, "é"])
def test_names_that_could_lead_elsewhere(oip, name):
    with refused(INVALID, "model name"):
        oip.infer(oip.raw(name, x=ONES))


def test_inputs_that_the_model_does_not_take(oip):
    with refused(INVALID, '"z"', '"x"'):
        oip.infer(oip.raw("identity_fp32", z=ONES))
    with refused(INVALID, '"z"'):
        oip.infer(oip.raw("identity_fp32", x=ONES, z=ONES))
    with refused(INVALID, '"y"'):
        oip.infer(oip.raw("identity_fp32", y=ONES))


def test_inputs_that_are_missing(oip):
    with refused(INVALID, '"b"', "missing"):
        oip.infer(oip.raw("add", a=ONES.reshape(1, 4)))
    with refused(INVALID, '"x"', "missing"):
        oip.infer(oip.request("identity_fp32"))


def test_an_input_that_is_given_twice(oip):
    request = oip.raw("identity_fp32", x=ONES)
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])
    with refused(INVALID, '"x"', "twice"):
        oip.infer(request)


def test_another_type_than_the_models(oip):
    with refused(INVALID, '"x"', "FP32", "INT32"):
        oip.infer(oip.raw("identity_fp32", x=np.ones(4, np.int32)))


@pytest.mark.parametrize("datatype", ["", "fp32", "FLOAT", "INT4", "FP8", "COMPLEX64", "X" * 5000])
def test_types_that_there_are_none_of(oip, datatype):
    with refused(INVALID, '"x"', datatype[:20]):
        oip.infer(described(oip, [1], b"1234", datatype=datatype))


def test_another_rank_or_dimension_than_the_models(oip):
    with refused(INVALID, '"x"', "1", "2", "[2,2]"):
        oip.infer(oip.raw("identity_fp32", x=ONES.reshape(2, 2)))
    with refused(INVALID, '"x"', "rank", "0"):
        oip.infer(oip.raw("identity_fp32", x=ONES[0]))
    with refused(INVALID, '"x"', "[batch,16]", "[1,4]"):
        oip.infer(oip.raw("matmul", x=ONES.reshape(1, 4)))
    with refused(INVALID, '"x"', "[0,3]", "[1,3]"):
        oip.infer(oip.raw("empty", x=ONES[:3].reshape(1, 3)))


@pytest.mark.parametrize("length", [0, 15, 17, 32])
def test_another_count_of_bytes_than_the_shapes(oip, length):
    with refused(INVALID, '"x"', "16", str(length)):
        oip.infer(described(oip, [4], b"\0" * length))


@pytest.mark.parametrize(
    "shape", [[1 << 62, 4], [1 << 40, 1 << 40], [(1 << 63) - 1], [0, 1 << 62, 1 << 62], [3_000_000_000] * 3]
)
@pytest.mark.parametrize("datatype", ["FP32", "BOOL", "BYTES"])
def test_shapes_that_overflow(oip, shape, datatype):
    with refused(INVALID, '"x"', str(shape[0])):
        oip.infer(described(oip, shape, datatype=datatype))


@pytest.mark.parametrize("shape", [[-1], [4, -1], [-4], [-(1 << 63)], [-2, -2]])
def test_negative_dimensions(oip, shape):
    with refused(INVALID, '"x"', str(min(shape))):
        oip.infer(described(oip, shape, ONES.tobytes()))


@pytest.mark.parametrize("rank", [17, 1000, 1_000_000])
def test_a_huge_rank(oip, rank):
    with refused(INVALID, '"x"', "rank"):
        oip.infer(described(oip, [1] * rank, b"1234"))


def test_surplus_and_missing_raw_contents(oip):
    request = oip.raw("identity_fp32", x=ONES)
    request.raw_input_contents.append(b"1234")
    with refused(INVALID, "1", "2", "raw_input_contents"):
        oip.infer(request)
    request = oip.raw("add", a=ONES.reshape(1, 4), b=ONES.reshape(1, 4))
    del request.raw_input_contents[1]
    with refused(INVALID, "2", "1", "raw_input_contents"):
        oip.infer(request)


@pytest.mark.parametrize(
    "raw", [b"\1", b"\5\0\0\0abc", b"\xff\xff\xff\xff", b"\1\0\0\0a\2\0\0", b"\1\0\0\0a", b"\0" * 12, b""]
)
def test_strings_whose_lengths_do_not_add_up(oip, raw):
    with refused(INVALID, '"x"'):
        oip.infer(described(oip, [2], raw, datatype="BYTES", model="identity_string"))


def test_outputs_that_the_model_does_not_give(oip):
    request = oip.raw("identity_fp32", x=ONES)
    request.outputs.add(name="z")
    with refused(INVALID, '"z"', '"y"'):
        oip.infer(request)
    del request.outputs[:]
    request.outputs.extend([oip.messages.ModelInferRequest.InferRequestedOutputTensor(name="y")] * 2)
    with refused(INVALID, '"y"', "twice"):
        oip.infer(request)


@pytest.mark.parametrize(
    ("kind", "value"), [("int64_param", 0), ("int64_param", -1), ("string_param", "2"), ("bool_param", True)]
)
def test_a_count_of_classes_that_is_none(oip, kind, value):
    request = oip.raw("identity_fp32", x=ONES)
    setattr(request.outputs.add(name="y").parameters["classification"], kind, value)
    with refused(INVALID, '"y"', "classification"):
        oip.infer(request)


def test_a_parameter_without_a_value(oip):
    request = oip.raw("identity_fp32", x=ONES)
    request.parameters["mine"].SetInParent()
    with refused(INVALID, "mine"):
        oip.infer(request)


def test_more_tensors_than_any_model_has(oip):
    request = oip.raw("identity_fp32", x=ONES)
    request.inputs.extend([request.inputs[0]] * 5000)
    request.raw_input_contents.extend([request.raw_input_contents[0]] * 5000)
    with refused(INVALID, "4096"):
        oip.infer(request)


def test_long_names_make_no_long_messages(oip):
    name = "n" * 100_000
    with refused(INVALID, "nnn"):
        oip.infer(oip.raw("identity_fp32", **{name: ONES}))
    request = oip.raw("identity_fp32", x=ONES)
    request.outputs.add(name="日" * 10_000)
    with refused(INVALID, "日"):
        oip.infer(request)


def test_names_of_any_characters_are_told_as_they_are(oip):
    with refused(INVALID, "%41", "é"):
        oip.infer(oip.raw("identity_fp32", **{"%41 é\n": ONES}))


def test_a_message_over_the_limit(serve, repository, open_inference):
    client = open_inference(serve(repository("identity_fp32"), "limits.message_size=1MiB"))
    large = client.raw("identity_fp32", x=np.zeros(1 << 18, np.float32))
    with refused(TOO_LARGE, "1048576"):
        client.infer(large)
    with refused(TOO_LARGE, "1048576"):
        client.infer(large, compression=grpc.Compression.Gzip)
    # More than is under way before the refusal comes.
    with refused(TOO_LARGE, "1048576"):
        client.infer(client.raw("identity_fp32", x=np.zeros(5 << 20, np.float32)))
    room = client.raw("identity_fp32", x=np.zeros((1 << 18) - 100, np.float32))
    assert len(client.outputs(client.infer(room))["y"]) == (1 << 18) - 100


def test_a_call_with_hardly_any_time_left(oip):
    request = oip.raw("slow", iterations=np.array(2_000_000_000, np.int64))
    with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
        oip.infer(request, timeout=0.001)


def test_a_method_that_nobody_knows(oip):
    call = oip.channel.unary_unary("/inference.GRPCInferenceService/Nothing")
    with refused(grpc.StatusCode.UNIMPLEMENTED):
        call(b"", timeout=TIMEOUT_S)
    call = oip.channel.unary_unary("/nobody.Service/Nothing")
    with refused(grpc.StatusCode.UNIMPLEMENTED):
        call(b"", timeout=TIMEOUT_S)


@pytest.mark.parametrize(("count", "word"), [(0, "no message"), (2, "more than one")])
def test_a_unary_call_has_exactly_one_message(oip, count, word):
    call = oip.channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
    message = oip.raw("identity_fp32", x=ONES).SerializeToString()
    with refused(INVALID, word):
        call(iter([message] * count), timeout=TIMEOUT_S)


def test_bytes_that_are_no_message(oip):
    random = np.random.default_rng(SEED)
    for length in (1, 2, 7, 50, 1000):
        with refused(INVALID):
            oip.infer_bytes(b"\x0f" + random.bytes(length))
    with refused(INVALID):
        oip.infer_bytes(b"")


def test_messages_with_broken_bytes_are_answered_or_refused_as_the_callers_doing(oip):
    request = oip.raw("add", a=ONES.reshape(1, 4), b=ONES.reshape(1, 4))
    request.id = "broken"
    request.parameters["mine"].double_param = 0.5
    request.outputs.add(name="sum").parameters["classification"].int64_param = 2
    whole = bytearray(request.SerializeToString())
    random = np.random.default_rng(SEED)
    codes = {INVALID, NOT_FOUND, TOO_LARGE, grpc.StatusCode.UNIMPLEMENTED}
    for _ in range(500):
        broken = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            broken[random.integers(len(broken))] = random.integers(256)
        broken = broken[: random.integers(len(broken)) if random.random() < 0.2 else None]
        try:
            oip.infer_bytes(bytes(broken))
        except grpc.RpcError as error:
            code, message = code_and_message(error)
            assert code in codes, f"{code}: {message}, for {bytes(broken)!r}"


def test_a_stream_is_not_ended_by_a_bad_message_of_a_kind_that_decodes(oip):
    requests = [described(oip, [4], b"\0" * 15), oip.raw("nobody", x=ONES), oip.raw("identity_fp32", x=ONES)]
    answers = list(oip.stub.ModelStreamInfer(iter(requests), timeout=TIMEOUT_S))
    assert ["16" in answers[0].error_message, "nobody" in answers[1].error_message] == [True, True]
    assert answers[2].error_message == ""
