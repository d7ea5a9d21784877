"""TensorFlow Serving's Predict, over the same models."""

import time

import grpc
import numpy as np
import pytest

from refusals import refused
from tensorflow_serving import TYPES, TensorFlowServing, array_of, shape_of
from tensors import STRINGS, identity_model, same, samples
from wire import field

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.fixture
def serving(protos, fixtures, connect):
    """A client of the fixtures, that sees afterwards that the server is unharmed."""
    client = TensorFlowServing(protos, connect(fixtures))
    yield client
    assert fixtures.is_running()
    assert client.predict_one("scalar", x=client.tensor("DT_FLOAT", [], float_val=[4])).float_val == [8]


@pytest.mark.parametrize("count", [0, 1, 9])
@pytest.mark.parametrize("datatype", [datatype for datatype in TYPES if datatype != "BYTES"])
def test_every_type_comes_back_from_tensor_content_in_tensor_content(serving, datatype, count):
    x = samples(datatype, (count,))
    y = serving.predict_one(identity_model(datatype), x=serving.content(datatype, x))
    assert y.dtype == serving.number_of(TYPES[datatype][0])
    assert same(array_of(y, datatype), x)
    assert not getattr(y, TYPES[datatype][1])


@pytest.mark.parametrize("datatype", TYPES)
def test_every_type_comes_back_from_its_list_in_its_list(serving, datatype):
    x = samples(datatype, (9,))
    if datatype in ("FP32", "FP64"):
        # Python's protobuf does not keep every bit of what is no number.
        x = np.nan_to_num(x)
    y = serving.predict_one(identity_model(datatype), x=serving.values(datatype, x))
    assert y.dtype == serving.number_of(TYPES[datatype][0])
    assert same(array_of(y, datatype), x)
    assert not y.tensor_content


def test_the_answer_names_the_model_the_version_used_and_the_signature(serving):
    ones = np.ones((1, 4), np.float32)
    request = serving.request("add", a=serving.content("FP32", ones), b=serving.content("FP32", ones))
    response = serving.predict(request)
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("add", 1, "serving_default")
    assert {name: array_of(each, "FP32").tolist() for name, each in response.outputs.items()} == {
        "sum": [[2.0] * 4],
        "difference": [[0.0] * 4],
    }


def test_tensors_of_both_forms_may_mix(serving):
    ones = np.ones((1, 4), np.float32)
    request = serving.request("add", a=serving.content("FP32", ones), b=serving.values("FP32", ones))
    assert array_of(serving.predict(request).outputs["sum"], "FP32").tolist() == [[2.0] * 4]


def test_one_value_fills_a_tensor(serving):
    x = serving.tensor("DT_FLOAT", [3, 16], float_val=[0.5])
    full = serving.values("FP32", np.full((3, 16), 0.5, np.float32))
    assert serving.predict_one("matmul", x=x) == serving.predict_one("matmul", x=full)


@pytest.mark.parametrize(
    ("data_type", "model", "given", "taken"),
    [
        ("DT_FLOAT", "identity_fp32", {"float_val": [1, 2]}, [1, 2, 2, 2, 2]),
        ("DT_FLOAT", "identity_fp32", {}, [0] * 5),
        ("DT_FLOAT", "identity_fp32", {"float_val": range(9)}, [0, 1, 2, 3, 4]),
        ("DT_FLOAT", "identity_fp32", {"double_val": [1.0]}, [0] * 5),
        ("DT_INT8", "identity_int8", {"int_val": [-1, 300]}, [-1, 44, 44, 44, 44]),
        ("DT_BOOL", "identity_bool", {"bool_val": [False, True]}, [False, True, True, True, True]),
        ("DT_UINT64", "identity_uint64", {"uint64_val": [1 << 63]}, [1 << 63] * 5),
        ("DT_HALF", "identity_fp16", {"half_val": [0x3C00, 0x4000]}, [1, 2, 2, 2, 2]),
        ("DT_BFLOAT16", "identity_bf16", {"half_val": [0x3F80]}, [1] * 5),
        ("DT_STRING", "identity_string", {"string_val": [b"a", b"b\0"]}, [b"a", b"b\0", b"b\0", b"b\0", b"b\0"]),
        ("DT_STRING", "identity_string", {}, [b""] * 5),
    ],
)
def test_a_list_that_is_too_short_or_too_long_follows_tensorflows_rules(serving, data_type, model, given, taken):
    y = serving.predict_one(model, x=serving.tensor(data_type, [5], **given))
    [datatype] = [name for name, (known, _) in TYPES.items() if known == data_type]
    assert array_of(y, datatype).tolist() == taken


def test_strings_are_any_bytes(serving):
    x = np.array(STRINGS, np.object_)
    assert list(serving.predict_one("identity_string", x=serving.values("BYTES", x)).string_val) == STRINGS


def test_scalars_and_empty_tensors(serving):
    y = serving.predict_one("scalar", x=serving.content("FP32", np.array(21, np.float32)))
    assert shape_of(y) == [] and y.HasField("tensor_shape") and array_of(y, "FP32") == 42
    y = serving.predict_one("empty", x=serving.tensor("DT_FLOAT", [0, 3]))
    assert shape_of(y) == [0, 3]


def test_an_optional_input_may_be_left_out(serving):
    x = serving.tensor("DT_FLOAT", [2], float_val=[1, 2])
    assert serving.predict_one("optional_input", x=x).float_val == [2, 3]
    bias = serving.tensor("DT_FLOAT", [1], float_val=[10])
    assert serving.predict_one("optional_input", x=x, bias=bias).float_val == [11, 12]


def add(serving, spec="add"):
    ones = serving.tensor("DT_FLOAT", [1, 4], float_val=[1])
    return serving.request(spec, a=ones, b=ones)


def test_an_output_filter_chooses(serving):
    request = add(serving)
    request.output_filter.append("difference")
    assert list(serving.predict(request).outputs) == ["difference"]
    request.output_filter.append("quotient")
    with refused(INVALID, '"quotient"', '"sum"'):
        serving.predict(request)


def test_the_default_signature_is_the_only_one(serving):
    serving.predict(add(serving, serving.spec("add", signature="serving_default")))
    with refused(NOT_FOUND, "classify", "serving_default"):
        serving.predict(add(serving, serving.spec("add", signature="classify")))


@pytest.mark.direct("only the server that has a model knows the labels of its versions")
def test_a_version_is_chosen_and_must_be_there(serving):
    assert serving.predict(add(serving, serving.spec("add", version=1))).model_spec.version.value == 1
    with refused(NOT_FOUND, "add", "2"):
        serving.predict(add(serving, serving.spec("add", version=2)))
    with refused(NOT_FOUND, "add", "0"):
        serving.predict(add(serving, serving.spec("add", version=0)))
    with refused(INVALID, "-1"):
        serving.predict(add(serving, serving.spec("add", version=-1)))
    with refused(NOT_FOUND, "stable"):
        serving.predict(add(serving, serving.spec("add", label="stable")))


@pytest.mark.direct("only the server that has a model knows the labels of its versions")
def test_a_version_has_the_names_that_its_settings_give_it(serve, repository, protos, connect):
    folder = repository("add")
    (folder / "add/model.toml").write_text("version_labels = { stable = 1, next = 2 }\n")
    serving = TensorFlowServing(protos, connect(serve(folder)))
    assert serving.predict(add(serving, serving.spec("add", label="stable"))).model_spec.version.value == 1
    with refused(NOT_FOUND, "next", "2"):
        serving.predict(add(serving, serving.spec("add", label="next")))


def test_unknown_models_and_names_that_are_none(serving):
    with refused(NOT_FOUND, "nobody"):
        serving.predict(add(serving, "nobody"))
    with refused(INVALID, "model name"):
        serving.predict(add(serving, "../add"))
    with refused(INVALID, "model name"):
        serving.predict(serving.messages.PredictRequest())
    with refused(grpc.StatusCode.UNAVAILABLE, "zipmap"):
        serving.predict(add(serving, "zipmap"))


def test_inputs_that_do_not_fit_are_named_with_both_values(serving):
    ones = np.ones(4, np.float32)
    for words, inputs in [
        (['"z"', '"x"'], {"z": serving.content("FP32", ones)}),
        (['"x"', "FP32", "INT32"], {"x": serving.values("INT32", np.ones(4, np.int32))}),
        (['"x"', "rank 1", "rank 2"], {"x": serving.content("FP32", ones.reshape(2, 2))}),
        (['"x"', "16", "15"], {"x": serving.tensor("DT_FLOAT", [4], tensor_content=b"\0" * 15)}),
        (['"x"', "-1"], {"x": serving.tensor("DT_FLOAT", [-1], float_val=[1])}),
        (['"x"', "overflows"], {"x": serving.tensor("DT_FLOAT", [1 << 40] * 3)}),
        (['"x"', "rank"], {"x": serving.tensor("DT_FLOAT", [1] * 17)}),
        (['"x"', "8"], {"x": serving.tensor("DT_COMPLEX64", [1], scomplex_val=[1, 1])}),
        (['"x"', "0"], {"x": serving.tensor("DT_INVALID", [1])}),
        (['"x"', "string_val"], {"x": serving.tensor("DT_STRING", [1], tensor_content=b"\0\0\0\0")}),
        (['"x"', "missing"], {}),
    ]:
        with refused(INVALID, *words):
            serving.predict(serving.request("identity_fp32", **inputs))
    unknown = serving.tensor("DT_FLOAT", [])
    unknown.tensor_shape.unknown_rank = True
    with refused(INVALID, '"x"', "rank"):
        serving.predict(serving.request("identity_fp32", x=unknown))


@pytest.mark.parametrize("size", [1 << 30, 1 << 60])
@pytest.mark.parametrize(
    ("model", "data_type", "given"),
    [("identity_uint8", "DT_UINT8", {"int_val": [1]}), ("identity_string", "DT_STRING", {"string_val": [b"a"]})],
)
def test_a_short_list_that_would_fill_more_than_a_message_is_refused_at_once(serving, model, data_type, given, size):
    request = serving.request(model, x=serving.tensor(data_type, [size], **given))
    began = time.monotonic()
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, '"x"', str(size)):
        serving.predict(request)
    # Whoever fills up first and refuses then takes longer, for a message of a few bytes.
    assert time.monotonic() - began < 0.5


def test_filling_up_costs_no_more_than_so_many_bytes(serving):
    """Element by element it would hold up every other call, for a message of a few bytes."""
    x = serving.tensor("DT_UINT8", [60 << 20, 1], int_val=[1])
    began = time.monotonic()
    with refused(INVALID, '"x"', "rank"):
        serving.predict(serving.request("identity_uint8", x=x))
    assert time.monotonic() - began < 1


def test_streamed_prediction_is_refused(serving):
    request = add(serving)
    request.predict_streamed_options.request_state = 1
    with refused(grpc.StatusCode.UNIMPLEMENTED, "streamed"):
        serving.predict(request)


def test_request_options_for_other_servers_do_no_harm(serving):
    request = add(serving)
    request.client_id = b"me"
    request.request_options.return_stoptokens.append(1)
    serving.predict(request, compression=grpc.Compression.Gzip)


def test_fields_may_come_in_any_order(serving):
    shape = field(2, field(1, 1)) + field(2, field(1, 4))
    tensor = field(4, np.ones(4, np.float32).tobytes()) + field(2, shape) + field(1, 1)
    inputs = field(2, field(2, tensor) + field(1, "b")) + field(2, field(1, "a") + field(2, tensor))
    spec = field(1, field(2, field(1, 1)) + field(1, "add"))
    call = serving.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    answer = call(field(1000, "unknown") + inputs + spec, timeout=10)
    response = serving.messages.PredictResponse.FromString(answer)
    assert array_of(response.outputs["sum"], "FP32").tolist() == [[2.0] * 4]
