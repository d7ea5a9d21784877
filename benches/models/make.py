#!/usr/bin/env python3
"""Make the models that the benchmarks load.

    python3 -m pip install -r benches/models/requirements.txt
    python3 benches/models/make.py

What it writes is committed, so that the benchmarks need no Python; the same
versions write the same bytes every time. README.md says what each model is for,
check.py whether its answers may be batched.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
import onnx

HERE = Path(__file__).resolve().parent
for folder in ("examples/training", "tests/fixtures"):
    sys.path.insert(0, str(HERE.parents[1] / folder))

from encoder import Encoder, Sizes
from onnx_graph import FLOAT, Graph

SEED = 20

# The oldest that serves, so that older runtimes load the models too.
OPSET = 17
IR_VERSION = 8
PRODUCER = "infergate-benches"

CLASSES = 10


def main():
    for make in (mlp, cnn, encoder):
        save(make.__name__, make(Weights()))


class Weights:
    """Random weights that keep the values in the model near 1, layer after layer."""

    # Most of a random float is noise that no archive makes smaller. These have
    # some eight bits that say something, and are stored in half the bytes.
    STEP = 2.0**-10

    def __init__(self):
        self.random = np.random.default_rng(SEED)

    def __call__(self, *shape, inputs=None, gain=1.0):
        """`inputs` is how many products are added up; by default the first dimension."""
        scale = gain / np.sqrt(inputs or shape[0])
        values = self.random.standard_normal(shape) * scale
        return (np.round(values / self.STEP) * self.STEP).astype(np.float32)


# Half of what enters a ReLU is lost there.
RELU_GAIN = np.sqrt(2)


# --- mlp ------------------------------------------------------------------------


def mlp(weights):
    """Three dense layers: what it costs to read the weights, once per run."""
    graph = Graph("mlp")
    x, width = "x", 512
    for outputs in (1024, 1024):
        w, b = weights(width, outputs, gain=RELU_GAIN), weights(outputs, inputs=100)
        x = graph.op("Relu", graph.op("Gemm", x, graph.constant(w), graph.constant(b)))
        width = outputs
    classify(graph, x, width, weights)
    return graph.model(
        [("x", FLOAT, ["batch", 512])], [("probs", FLOAT, ["batch", CLASSES])], OPSET, PRODUCER
    )


def classify(graph, x, width, weights):
    w, b = graph.constant(weights(width, CLASSES)), graph.constant(weights(CLASSES, inputs=100))
    graph.op("Softmax", graph.op("Gemm", x, w, b), axis=1, output="probs")


# --- cnn ------------------------------------------------------------------------


# Channels of the convolutions before each halving of the image.
STAGES = [(16, 16), (32, 32, 32), (64, 64, 64)]


def cnn(weights):
    """An image classifier of small convolutions: arithmetic, and few weights."""
    graph = Graph("cnn")
    x, channels = "image", 3
    for stage in STAGES:
        for outputs in stage:
            w = weights(outputs, channels, 3, 3, inputs=9 * channels, gain=RELU_GAIN)
            b = weights(outputs, inputs=100)
            x = graph.op("Conv", x, graph.constant(w), graph.constant(b), pads=[1, 1, 1, 1])
            x = graph.op("Relu", x)
            channels = outputs
        x = graph.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = graph.op("Flatten", graph.op("GlobalAveragePool", x))
    classify(graph, x, channels, weights)
    return graph.model(
        [("image", FLOAT, ["batch", 3, 32, 32])],
        [("probs", FLOAT, ["batch", CLASSES])],
        OPSET,
        PRODUCER,
    )


# --- encoder --------------------------------------------------------------------


SIZES = Sizes(vocabulary=1000, longest=512, width=128, heads=4, inner=512, layers=4)


def encoder(weights):
    """A small transformer: sequences of any length up to 512 tokens."""
    return Encoder(SIZES, weights).model(OPSET, PRODUCER)


# --- writing --------------------------------------------------------------------


def save(name, model):
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString(deterministic=True)
    path = HERE / name / "1/model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    print(f"{hashlib.sha256(content).hexdigest()}  {path.relative_to(HERE)} ({len(content)} bytes)")


if __name__ == "__main__":
    main()
