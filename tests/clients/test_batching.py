"""Calls that run together get the answers that they would get alone: merged, padded, filled up or cut into parts."""

import subprocess

import grpc
import numpy as np
import pytest

from conftest import FIXTURES
from process import BINARY, PROJECT, own_environment
from reference import session
from refusals import TIMEOUT_S, check, refused
from tensors import NUMPY, SEED, from_bytes, same

CALLS = 48

# Long enough that calls sent together find each other, whatever the machine is busy with.
WAITING = 'instances = 1\nbatch.max_delay = "50ms"\n'

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
def batching(serve, repository, open_inference):
    """A client of a server of its own for these fixtures: `batching(add="…lines of model.toml…")`."""

    def start(**models):
        folder = repository(*models)
        for model, settings in models.items():
            (folder / model / "model.toml").write_text(settings)
        return open_inference(serve(folder))

    return start


def all_at_once(client, requests):
    """The answers, or errors, to calls that are under way at the same time."""
    under_way = [client.stub.ModelInfer.future(request, timeout=TIMEOUT_S) for request in requests]
    return [call.exception() or call.result() for call in under_way]


def statistics(client, model):
    request = client.messages.ModelStatisticsRequest(name=model)
    (told,) = client.stub.ModelStatistics(request, timeout=TIMEOUT_S).model_stats
    return told


def runs_by_rows(client, model):
    return {each.batch_size: each.compute_infer.count for each in statistics(client, model).batch_stats}


def alone(model, inputs):
    """What ONNX Runtime answers to this call by itself."""
    reference = session(FIXTURES, model)
    names = [output.name for output in reference.get_outputs()]
    return [dict(zip(names, reference.run(names, each))) for each in inputs]


def expect_as_alone(client, model, inputs, axis=0, **tolerance):
    """Sends all of them at once, and sees that each is answered as by itself."""
    answers = all_at_once(client, [client.raw(model, **each) for each in inputs])
    for each, answer, expected in zip(inputs, answers, alone(model, inputs)):
        assert not isinstance(answer, grpc.RpcError), answer
        found = client.outputs(answer)
        assert list(found) == list(expected)
        for name, array in expected.items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
            np.testing.assert_allclose(found[name], array, err_msg=name, **tolerance)
    told = statistics(client, model)
    rows = [next(iter(each.values())).shape[axis] for each in inputs]
    assert told.inference_count == sum(rows)
    assert told.inference_stats.success.count == len(inputs)
    assert sum(each.compute_infer.count for each in told.batch_stats) == told.execution_count
    return told


def expect_merged_as_alone(client, model, inputs, **options):
    told = expect_as_alone(client, model, inputs, rtol=1e-4, atol=1e-5, **options)
    assert told.execution_count < len(inputs), "no two of them ran together"


@pytest.fixture
def random():
    return np.random.default_rng(SEED)


def floats(random, *shape):
    return random.standard_normal(shape).astype(np.float32)


def sequences(random, rows, length):
    """Tokens, of which some at the end of all rows but the first are padding of the caller's own."""
    ids = random.integers(0, 50, (rows, length))
    own = random.integers(1, length + 1, rows)
    own[0] = length
    return {"input_ids": ids, "attention_mask": (np.arange(length) < own[:, None]).astype(np.int64)}


def row_mean(random, rows, width):
    mask = (random.random((rows, width)) < 0.7).astype(np.int64)
    mask[:, 0] = 1
    return {"x": floats(random, rows, width), "mask": mask}


def elements(random, datatype, shape):
    """Elements with all kinds of bits; strings with zeros in them, empty ones, and such as are no text."""
    count = int(np.prod(shape))
    if datatype == "BYTES":
        strings = [random.bytes(random.integers(0, 40)) + b"\0" * random.integers(0, 3) for _ in range(count)]
        return np.array([*strings, b""], np.object_)[:count].reshape(shape)
    dtype = np.dtype(NUMPY[datatype])
    if datatype == "BOOL":
        return random.integers(0, 2, shape).astype(dtype)
    return from_bytes(random.bytes(count * dtype.itemsize), datatype, shape)


@pytest.mark.parametrize("settings", ["", "batch.max_batch = 8\n", "batch.allowed_sizes = [4, 16]\n"])
def test_what_is_put_together_and_cut_apart_is_the_same_in_every_type(batching, random, settings):
    client = batching(batch_echo_all=WAITING + settings)
    reference = session(FIXTURES, "batch_echo_all")
    types = {"x_string" if datatype == "BYTES" else f"x_{datatype.lower()}": datatype for datatype in NUMPY}
    assert {each.name for each in reference.get_inputs()} == set(types)
    inputs = []
    for index in range(CALLS):
        shape = (int(random.integers(1, 6)), (3, 3, 5)[index % 3])
        inputs.append({name: elements(random, datatype, shape) for name, datatype in types.items()})
    requests = [client.raw("batch_echo_all", **each) for each in inputs]
    for index, request in enumerate(requests):
        request.id = f"call {index}"
    for index, (answer, each) in enumerate(zip(all_at_once(client, requests), inputs)):
        assert not isinstance(answer, grpc.RpcError), answer
        assert answer.id == f"call {index}"
        found = client.outputs(answer)
        for name, array in each.items():
            output = found[name.replace("x_", "y_", 1)]
            if array.dtype == np.object_:
                assert output.tolist() == array.tolist()
            else:
                assert same(output, array), name
    told = statistics(client, "batch_echo_all")
    assert told.execution_count < CALLS
    if "max_batch = 8" in settings:
        assert max(runs_by_rows(client, "batch_echo_all")) <= 8


@pytest.mark.parametrize("model", ["matmul", "add", "unnamed_batch", "external"])
def test_rows_of_models_whose_rows_are_all_alike(batching, random, model):
    client = batching(**{model: WAITING})
    names, width = {"add": (["a", "b"], 4), "unnamed_batch": (["x"], 4)}.get(model, (["x"], 16))
    inputs = []
    for _ in range(CALLS):
        rows = random.integers(1, 7)
        inputs.append({name: floats(random, rows, width) for name in names})
    expect_merged_as_alone(client, model, inputs)


def test_sequences_of_equal_lengths_go_together_and_others_do_not(batching, random):
    client = batching(tiny_encoder=WAITING)
    inputs = [sequences(random, random.integers(1, 4), (5, 9, 33, 64)[index % 4]) for index in range(CALLS)]
    expect_merged_as_alone(client, "tiny_encoder", inputs)


def test_masked_means_of_rows_of_equal_widths(batching, random):
    client = batching(row_mean=WAITING)
    inputs = [row_mean(random, random.integers(1, 4), (1, 4, 7)[index % 3]) for index in range(CALLS)]
    expect_merged_as_alone(client, "row_mean", inputs)


@pytest.mark.parametrize("settings", ["", "batch.max_batch = 3\n"])
def test_rows_that_do_not_lie_along_the_first_dimension(batching, random, settings):
    client = batching(time_major=WAITING + settings)
    inputs = [{"x": floats(random, (6, 1, 9)[index % 3], random.integers(1, 8), 3)} for index in range(CALLS)]
    requests = [client.raw("time_major", **each) for each in inputs]
    answers = all_at_once(client, requests)
    for answer, expected in zip(answers, alone("time_major", inputs)):
        found = client.outputs(answer)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5)
    told = statistics(client, "time_major")
    assert told.inference_count == sum(each["x"].shape[1] for each in inputs)
    if settings:
        assert max(runs_by_rows(client, "time_major")) == 3
    else:
        assert told.execution_count < CALLS


PADDED = {
    "tiny_encoder": '[batch.dims.sequence]\nbuckets = [16, 32, 64]\nmask = "attention_mask"\n',
    "row_mean": '[batch.dims.width]\nbuckets = [16, 32, 64]\nmask = "mask"\npad = 7.5\n',
}


@pytest.mark.parametrize("model", PADDED)
def test_calls_of_different_lengths_are_padded_and_answered_as_alone(batching, random, model):
    client = batching(**{model: WAITING + PADDED[model]})
    of_length = sequences if model == "tiny_encoder" else row_mean
    largest = 0
    # What runs cost is learnt from the first rounds. No two calls of a round have one length and each has one row, so
    # that a run of several rows is one of several lengths.
    for _ in range(20):
        inputs = [of_length(random, 1, int(length)) for length in random.permutation(np.arange(1, 65))[:CALLS]]
        answers = all_at_once(client, [client.raw(model, **each) for each in inputs])
        for answer, expected in zip(answers, alone(model, inputs)):
            assert not isinstance(answer, grpc.RpcError), answer
            found = client.outputs(answer)
            for name, array in expected.items():
                assert found[name].shape == array.shape
                np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5, err_msg=name)
        largest = max(runs_by_rows(client, model))
    assert largest > 1, "nothing was padded"


@pytest.mark.parametrize("model", ["detections", "scalar_side"])
def test_models_that_cannot_be_batched_are_served_call_by_call(batching, random, model):
    client = batching(**{model: "instances = 1\n"})
    inputs = []
    for index in range(CALLS):
        x = floats(random, random.integers(1, 5), 4)
        if model == "detections":
            # Of some calls nothing is found.
            inputs.append({"image": x - 5 if index % 4 == 0 else x})
        else:
            inputs.append({"x": x, "threshold": np.array(index / CALLS, np.float32)})
    answers = all_at_once(client, [client.raw(model, **each) for each in inputs])
    for answer, expected in zip(answers, alone(model, inputs)):
        found = client.outputs(answer)
        assert all(same(found[name], array) for name, array in expected.items())
    assert statistics(client, model).execution_count == CALLS


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        ("scalar_side", "batch.max_batch = 16", ["batch.max_batch", '"threshold"', "is a scalar"]),
        ("detections", "batch.max_batch = 16", ["batch.max_batch", '"boxes"', "found"]),
        ("detections", 'batch.axis = "batch"', ["batch.axis", '"boxes"', "no dimension batch"]),
        ("tiny_encoder", "batch.dims.length.buckets = [8]", ["batch.dims.length", "no input"]),
        ("tiny_encoder", 'batch.dims.sequence = { buckets = [8], mask = "mask" }', ["no input", '"mask"']),
    ],
)
def test_settings_that_cannot_be_are_told_before_and_while_serving(
    serve, repository, open_inference, model, settings, words
):
    folder = repository(model, "add")
    (folder / model / "model.toml").write_text(settings)
    checked = subprocess.run(
        [BINARY, "check", "--models", folder],
        cwd=PROJECT,
        env=own_environment(),
        capture_output=True,
        text=True,
        timeout=20,
    )
    (line,) = [line for line in checked.stdout.splitlines() if line.startswith("broken")]
    assert checked.returncode != 0
    client = open_inference(serve(folder))
    index = client.stub.RepositoryIndex(client.messages.RepositoryIndexRequest(), timeout=TIMEOUT_S)
    states = {each.name: each for each in index.models}
    assert (states["add"].state, states[model].state) == ("READY", "UNAVAILABLE")
    for word in ["model.toml", *words]:
        assert word in line
        assert word in states[model].reason


def test_calls_that_are_larger_than_a_batch_come_back_whole_or_are_refused(batching, random):
    refuse = 'batch = { max_batch = 4, oversized = "refuse" }\n'
    client = batching(matmul="instances = 2\nbatch.max_batch = 4\n", add=refuse)
    inputs = [{"x": floats(random, rows, 16)} for rows in random.integers(1, 40, CALLS)]
    expect_as_alone(client, "matmul", inputs, rtol=1e-4, atol=1e-5)
    assert max(runs_by_rows(client, "matmul")) == 4
    ones = np.ones((5, 4), np.float32)
    with refused(INVALID, "5 rows", "4"):
        client.infer(client.raw("add", a=ones, b=ones))
    assert client.outputs(client.infer(client.raw("add", a=ones[:4], b=ones[:4])))["sum"].tolist() == [[2.0] * 4] * 4


@pytest.mark.parametrize("settings", ["", "batch.allowed_sizes = [2, 8]\n"])
def test_odd_calls_among_good_ones_disturb_nobody(batching, random, settings):
    client = batching(add=WAITING + settings)
    requests, expected = [], []

    def ask(request, a=None, b=None):
        requests.append(request)
        expected.append(None if a is None else a + b)

    for index in range(CALLS):
        a, b = floats(random, 2, random.integers(1, 4), 4)
        ask(client.raw("add", a=a, b=b) if index % 2 else client.raw("add", b=b, a=a), a, b)
        empty = np.zeros((0, 4), np.float32)
        ask(client.raw("add", a=empty, b=empty), empty, empty)
        many = client.raw("add", a=a, b=b)
        for number in range(100):
            many.parameters[f"p{number}"].string_param = "v" * (number if index % 2 else 1)
        ask(many, a, b)
        # One row and three: both are the batch.
        ask(client.raw("add", a=a[:1], b=np.repeat(b[:1], 3, 0)))
        sequence = client.raw("add", a=a, b=b)
        sequence.parameters["sequence_id"].int64_param = 7
        ask(sequence)
    for answer, sum_ in zip(all_at_once(client, requests), expected):
        if sum_ is None:
            assert isinstance(answer, grpc.RpcError)
            assert answer.code() in (INVALID, grpc.StatusCode.UNIMPLEMENTED), answer
        else:
            assert not isinstance(answer, grpc.RpcError), answer
            assert same(client.outputs(answer)["sum"], sum_)
    ones = np.ones((1, 4), np.float32)
    assert client.outputs(client.infer(client.raw("add", a=ones, b=ones)))["sum"].tolist() == [[2.0] * 4]


def test_one_call_that_the_model_cannot_run_fails_alone(batching, random):
    client = batching(tiny_encoder=WAITING)
    # There are fifty tokens.
    inputs = [sequences(random, 2, 8) for _ in range(CALLS)]
    for each in inputs[::8]:
        each["input_ids"][1, 3] = 1000
    answers = all_at_once(client, [client.raw("tiny_encoder", **each) for each in inputs])
    good = [each for index, each in enumerate(inputs) if index % 8]
    expected = iter(alone("tiny_encoder", good))
    for index, answer in enumerate(answers):
        if index % 8 == 0:
            assert isinstance(answer, grpc.RpcError), f"call {index}"
            check(answer, INVALID, "1000")
        else:
            assert not isinstance(answer, grpc.RpcError), answer
            found, right = client.outputs(answer)["pooled"], next(expected)["pooled"]
            np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5)


def test_a_thousand_shapes_at_once(batching):
    client = batching(row_mean="instances = 1\nmax_in_flight = 1000\n")
    full = [np.full((1, width), width, np.float32) for width in range(1, 1001)]
    answers = all_at_once(client, [client.raw("row_mean", x=x, mask=np.ones(x.shape, np.int64)) for x in full])
    for width, answer in enumerate(answers, 1):
        assert not isinstance(answer, grpc.RpcError), answer
        found = client.outputs(answer)
        assert found["mean"].tolist() == [[width]]
        assert found["echo"].shape == (1, width)
    assert statistics(client, "row_mean").execution_count == 1000
