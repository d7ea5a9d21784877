"""Tensors in typed form, which `tritonclient` never sends: answers mirror the form of their request."""

import grpc
import numpy as np
import pytest

import onnx_models
from oip import CONTENTS
from refusals import refused
from tensors import STRINGS, identity_model, numbers

INVALID = grpc.StatusCode.INVALID_ARGUMENT

INTEGERS = {
    "INT8": (300, 44),
    "INT16": (-40_000, 25_536),
    "UINT8": (0x1FF, 0xFF),
    "UINT16": (0x12345, 0x2345),
}


def typed_output(response):
    assert not response.raw_output_contents
    [output] = response.outputs
    return list(getattr(output.contents, CONTENTS[output.datatype]))


@pytest.mark.parametrize("datatype", CONTENTS)
def test_every_type_that_has_a_list_comes_back_in_that_list(oip, datatype):
    values = STRINGS if datatype == "BYTES" else numbers(datatype)
    response = oip.infer(oip.typed(identity_model(datatype), "x", datatype, [len(values)], values))
    [output] = response.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("y", datatype, [len(values)])
    assert typed_output(response) == values
    filled = [name for _, name in sorted((field.number, field.name) for field, _ in output.contents.ListFields())]
    assert filled == [CONTENTS[datatype]]


@pytest.mark.parametrize("datatype", CONTENTS)
def test_nothing_is_a_tensor_too(oip, datatype):
    response = oip.infer(oip.typed(identity_model(datatype), "x", datatype, [0], []))
    assert typed_output(response) == [] and list(response.outputs[0].shape) == [0]


def test_an_empty_tensor_may_leave_its_contents_out(oip):
    request = oip.request("identity_fp32")
    request.inputs.add(name="x", datatype="FP32", shape=[0])
    assert list(oip.infer(request).outputs[0].shape) == [0]


@pytest.mark.parametrize("datatype", INTEGERS)
def test_narrow_integers_take_the_low_bytes(oip, datatype):
    given, taken = INTEGERS[datatype]
    assert typed_output(oip.infer(oip.typed(identity_model(datatype), "x", datatype, [1], [given]))) == [taken]


def test_a_scalar_in_typed_form(oip):
    response = oip.infer(oip.typed("scalar", "x", "FP32", [], [21.0]))
    assert typed_output(response) == [42.0] and list(response.outputs[0].shape) == []


def test_a_raw_request_has_a_raw_answer(oip):
    response = oip.infer(oip.raw("identity_fp32", x=np.ones(3, np.float32)))
    assert len(response.raw_output_contents) == 1
    assert not response.outputs[0].HasField("contents")


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_floats_exist_only_raw(oip, datatype):
    request = oip.typed(identity_model(datatype), "x", datatype, [1], [1.0], contents="fp32_contents")
    with refused(INVALID, '"x"', datatype, "raw_input_contents"):
        oip.infer(request)


@pytest.mark.parametrize("datatype", CONTENTS)
def test_another_list_than_the_types_own_is_refused_with_both_names(oip, datatype):
    wrong = "fp64_contents" if datatype != "FP64" else "fp32_contents"
    request = oip.typed(identity_model(datatype), "x", datatype, [1], [1.0], contents=wrong)
    with refused(INVALID, '"x"', CONTENTS[datatype], wrong):
        oip.infer(request)


def test_two_lists_in_one_tensor_are_refused(oip):
    request = oip.typed("identity_int32", "x", "INT32", [1], [1])
    request.inputs[0].contents.int64_contents.append(1)
    with refused(INVALID, '"x"', "int_contents", "int64_contents"):
        oip.infer(request)


@pytest.mark.parametrize(("datatype", "given"), [("FP32", [1.0] * 3), ("INT8", [1] * 5), ("BYTES", [b"a"] * 3)])
def test_a_wrong_count_is_refused_with_both_values(oip, datatype, given):
    size = len(given) * {"FP32": 4, "INT8": 1, "BYTES": 1}[datatype]
    expected = 4 * {"FP32": 4, "INT8": 1, "BYTES": 1}[datatype]
    with refused(INVALID, '"x"', str(expected), str(size)):
        oip.infer(oip.typed(identity_model(datatype), "x", datatype, [4], given))


def test_typed_and_raw_tensors_do_not_mix(oip):
    request = oip.typed("add", "a", "FP32", [1, 4], [1.0] * 4)
    request.inputs.add(name="b", datatype="FP32", shape=[1, 4])
    request.raw_input_contents.append(np.ones(4, np.float32).tobytes())
    with refused(INVALID, '"a"', "raw_input_contents"):
        oip.infer(request)


def test_several_typed_inputs_and_a_selection_of_outputs(oip):
    request = oip.typed("add", "b", "FP32", [1, 4], [1.0, 2.0, 3.0, 4.0])
    other = request.inputs.add(name="a", datatype="FP32", shape=[1, 4])
    other.contents.fp32_contents.extend([10.0] * 4)
    request.outputs.add(name="difference")
    assert typed_output(oip.infer(request)) == [9.0, 8.0, 7.0, 6.0]


def test_classes_of_a_typed_request_are_typed_too(oip):
    request = oip.typed("identity_fp32", "x", "FP32", [3], [0.5, 2.0, 1.0])
    request.outputs.add(name="y").parameters["classification"].int64_param = 2
    assert typed_output(oip.infer(request)) == [b"2.000000:1", b"1.000000:2"]


def test_an_answer_with_an_output_that_exists_only_raw_is_raw(serve, tmp_path, open_inference):
    file = tmp_path / "mixed.onnx"
    file.write_bytes(onnx_models.with_a_half())
    client = open_inference(serve(file))
    request = client.typed("mixed", "x", "FP32", [2], [1.0, 2.0])
    outputs = client.outputs(client.infer(request))
    assert outputs["y"].tolist() == [1, 2] and outputs["half"] == 0.5
    request.outputs.add(name="y")
    assert typed_output(client.infer(request)) == [1.0, 2.0]
