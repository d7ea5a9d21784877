"""Answers are those of ONNX Runtime in Python, bit by bit: the same library with the same options."""

import json
import subprocess

import numpy as np
import onnxruntime
import pytest

from conftest import EXAMPLES, FIXTURES
from process import BINARY, PROJECT, own_environment
from reference import session
from tensors import SEED, same
from triton_calls import infer

INPUTS = PROJECT / "examples/inputs"


def test_the_library_is_the_same():
    """What follows means nothing otherwise."""
    version = subprocess.run(
        [BINARY, "--version"], cwd=PROJECT, env=own_environment(), capture_output=True, text=True, timeout=20
    )
    assert f"ONNX Runtime {onnxruntime.__version__}" in version.stdout


def expect_the_same(client, reference, model, **inputs):
    """Asks both. ONNX Runtime's Python takes and gives strings as text, the protocol as bytes."""
    result = infer(client, model, **inputs)
    outputs = [output.name for output in reference.get_outputs()]
    texts = {name: decoded(array) for name, array in inputs.items()}
    for name, expected in zip(outputs, reference.run(outputs, texts)):
        found = decoded(result.as_numpy(name))
        expected = np.asarray(expected)
        if expected.dtype == np.object_:
            assert found.tolist() == expected.tolist(), name
        else:
            assert same(found, expected), f"{name}: {found} and {expected}"


def decoded(array):
    if array.dtype != np.object_:
        return array
    return np.array([element.decode() for element in array.flat], np.object_).reshape(array.shape)


def random(*shape):
    return np.random.default_rng(SEED).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("batch", [0, 1, 3, 64])
@pytest.mark.parametrize("model", ["matmul", "external"])
def test_arithmetic_with_weights_of_either_kind(client, model, batch):
    expect_the_same(client, session(FIXTURES, model), model, x=random(batch, 16))


@pytest.mark.parametrize("batch", [0, 1, 5])
def test_several_inputs_and_outputs(client, batch):
    a, b = random(2, batch, 4)
    expect_the_same(client, session(FIXTURES, "add"), "add", a=a, b=b)


def test_an_optional_input_given_and_left_out(client):
    reference = session(FIXTURES, "optional_input")
    expect_the_same(client, reference, "optional_input", x=random(9))
    expect_the_same(client, reference, "optional_input", x=random(9), bias=random(1))


def test_scalars(client):
    expect_the_same(client, session(FIXTURES, "scalar"), "scalar", x=np.array(0.1, np.float32))
    reference = session(FIXTURES, "slow")
    for iterations in (0, 1, 20):
        expect_the_same(client, reference, "slow", iterations=np.array(iterations, np.int64))


@pytest.fixture
def example_client(examples, triton_client):
    return triton_client(examples)


def test_digits(example_client):
    reference = session(EXAMPLES, "digits")
    expect_the_same(example_client, reference, "digits", image=np.load(INPUTS / "seven.npy"))
    for batch in (1, 2, 17):
        image = np.abs(random(batch, 1, 8, 8)).clip(0, 1)
        expect_the_same(example_client, reference, "digits", image=image)


def penguins(columns):
    words = ("island", "sex")
    return {
        name: np.array([[word.encode()] for [word] in rows], np.object_)
        if name in words
        else np.array(rows, np.float32)
        for name, rows in columns.items()
    }


@pytest.mark.parametrize("file", ["penguin.json", "penguins.json"])
def test_penguins(example_client, file):
    inputs = penguins(json.loads((INPUTS / file).read_text()))
    expect_the_same(example_client, session(EXAMPLES, "penguins"), "penguins", **inputs)


def test_penguins_with_a_word_that_is_unknown(example_client):
    columns = json.loads((INPUTS / "penguin.json").read_text())
    inputs = penguins({**columns, "island": [["Ærø"]], "sex": [[""]]})
    expect_the_same(example_client, session(EXAMPLES, "penguins"), "penguins", **inputs)


def text(content, length=None):
    """A text as the model `language` reads it, padded up to `length`."""
    read = [byte + 1 for byte in content.encode()]
    return read + [0] * ((length or len(read)) - len(read))


def test_language_of_texts_of_several_lengths(example_client):
    reference = session(EXAMPLES, "language")
    for file in ("german.npy", "portuguese.npy"):
        expect_the_same(example_client, reference, "language", bytes=np.load(INPUTS / file))
    for content in ("a", "Guten Tag", "La vie est belle " * 20):
        expect_the_same(example_client, reference, "language", bytes=np.array([text(content)], np.int64))


def test_language_of_several_texts_at_once(example_client):
    texts = [text(content, 40) for content in ("Привет, как дела?", "See you tomorrow", "Merhaba")]
    expect_the_same(example_client, session(EXAMPLES, "language"), "language", bytes=np.array(texts, np.int64))


@pytest.mark.parametrize("lengths", [(1,), (7,), (64,), (3, 1, 20)])
def test_sequences_with_padding(client, lengths):
    ids = np.random.default_rng(SEED).integers(0, 50, (len(lengths), max(lengths)))
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    reference = session(FIXTURES, "tiny_encoder")
    expect_the_same(client, reference, "tiny_encoder", input_ids=ids, attention_mask=mask)
    expect_the_same(client, session(FIXTURES, "row_mean"), "row_mean", x=random(*mask.shape), mask=mask)


@pytest.mark.parametrize("batch", [0, 1, 5])
def test_models_that_are_hard_or_impossible_to_batch(client, batch):
    x = random(batch, 4)
    expect_the_same(client, session(FIXTURES, "detections"), "detections", image=x)
    threshold = np.array(0.1, np.float32)
    expect_the_same(client, session(FIXTURES, "scalar_side"), "scalar_side", x=x, threshold=threshold)
    expect_the_same(client, session(FIXTURES, "unnamed_batch"), "unnamed_batch", x=x)
    expect_the_same(client, session(FIXTURES, "time_major"), "time_major", x=random(6, batch, 3))
