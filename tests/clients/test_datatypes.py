"""Every element type and rank survives the journey with `tritonclient`, bit by bit."""

import numpy as np
import pytest

import onnx_models
from conftest import running
from tensors import NUMPY, STRINGS, identity_model, same, samples
from triton_calls import floats, infer

SHAPES = {
    0: [()],
    2: [(2, 3), (0, 3), (3, 0), (0, 0)],
    3: [(2, 1, 5)],
    5: [(1, 2, 3, 2, 1), (2, 2, 0, 2, 2)],
}


@pytest.fixture(scope="module")
def ranks(deployed, tmp_path_factory):
    """A server of identities of every type and rank."""
    folder = tmp_path_factory.mktemp("ranks")
    for datatype in NUMPY:
        for rank in SHAPES:
            version = folder / "models" / f"{datatype}-{rank}" / "1"
            version.mkdir(parents=True)
            (version / "model.onnx").write_bytes(onnx_models.identity(datatype, rank))
    yield from running(deployed, folder / "models", folder)


@pytest.mark.parametrize("count", [0, 1, 7, 1000])
@pytest.mark.parametrize("datatype", NUMPY)
def test_every_type_comes_back_bit_by_bit(client, datatype, count):
    x = samples(datatype, (count,))
    result = infer(client, identity_model(datatype), x=x)
    assert result.get_output("y").datatype == datatype
    assert same(result.as_numpy("y"), x)


def test_all_types_come_back_from_one_call(client):
    inputs = {identity_model(datatype).replace("identity", "x"): samples(datatype, (3, 5)) for datatype in NUMPY}
    result = infer(client, "batch_echo_all", **inputs)
    for name, x in inputs.items():
        assert same(result.as_numpy(name.replace("x_", "y_")), x), name


@pytest.mark.parametrize("rank", SHAPES)
@pytest.mark.parametrize("datatype", NUMPY)
def test_every_rank_comes_back_with_its_shape(ranks, triton_client, datatype, rank):
    client = triton_client(ranks)
    for shape in SHAPES[rank]:
        x = samples(datatype, shape)
        result = infer(client, f"{datatype}-{rank}", x=x)
        assert list(result.get_output("y").shape) == list(shape)
        assert same(result.as_numpy("y"), x)


def test_strings_are_any_bytes(client):
    """Also with a NUL, and such as are no UTF-8."""
    x = np.array(STRINGS, dtype=np.object_)
    assert infer(client, "identity_string", x=x).as_numpy("y").tolist() == STRINGS


def test_text_comes_back_as_utf8(client):
    x = np.array(["grüße", "日本", ""], dtype=np.object_)
    assert infer(client, "identity_string", x=x).as_numpy("y").tolist() == [each.encode() for each in x]


def test_bfloat16_may_be_a_cut_float_as_older_clients_send_it(oip):
    """They keep the two high bytes of each FP32 and fill up with zeros what they receive."""
    values = np.array([1.0, -2.5, 3.14159, np.inf, 1e-40], np.float32)
    cut = values.view(np.uint32) >> 16
    request = oip.request("identity_bf16", raw_input_contents=[cut.astype("<u2").tobytes()])
    request.inputs.add(name="x", datatype="BF16", shape=[len(values)])
    [raw] = oip.infer(request).raw_output_contents
    received = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    assert np.array_equal(received, (cut << 16).view(np.float32))


def test_a_scalar_has_no_dimension_on_the_way_out_either(client):
    result = infer(client, "scalar", x=np.array(21, np.float32))
    assert list(result.get_output("y").shape) == []
    assert result.as_numpy("y") == 42


def test_a_fixed_dimension_of_nothing_is_served(client):
    result = infer(client, "empty", x=floats(0, 3))
    assert list(result.get_output("y").shape) == [0, 3]
    assert result.as_numpy("y").shape == (0, 3)
