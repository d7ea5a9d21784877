"""Train the digits example: a small convolutional network on handwritten digits.

python3 examples/training/digits.py
"""

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import adam
import examples
from onnx_graph import FLOAT, Graph

SEED = 7
STEPS = 1500
BATCH = 64


def load():
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, None]
    return train_test_split(
        images, digits.target, test_size=0.25, random_state=SEED, stratify=digits.target
    )


def initial_weights(key):
    shapes = {
        "conv1": (16, 1, 3, 3),
        "conv2": (32, 16, 3, 3),
        "dense1": (512, 48),
        "dense2": (48, 10),
    }
    weights = {}
    for name, shape in shapes.items():
        key, use = jax.random.split(key)
        is_dense = len(shape) == 2
        inputs = shape[0] if is_dense else np.prod(shape[1:])
        outputs = shape[1] if is_dense else shape[0]
        weights[name] = {
            "w": jax.random.normal(use, shape) * np.sqrt(2 / inputs),
            "b": jnp.zeros(outputs),
        }
    return weights


def convolve(x, layer):
    y = jax.lax.conv(x, layer["w"], (1, 1), "SAME")
    return jax.nn.relu(y + layer["b"][:, None, None])


def logits(weights, images):
    x = convolve(convolve(images, weights["conv1"]), weights["conv2"])
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    x = x.reshape(x.shape[0], -1)
    x = jax.nn.relu(x @ weights["dense1"]["w"] + weights["dense1"]["b"])
    return x @ weights["dense2"]["w"] + weights["dense2"]["b"]


def loss(weights, images, digits):
    scores = jax.nn.log_softmax(logits(weights, images))
    return -jnp.take_along_axis(scores, digits[:, None], 1).mean()


@jax.jit
def step(weights, state, count, images, digits):
    gradients = jax.grad(loss)(weights, images, digits)
    rate = adam.one_cycle(count, STEPS, 3e-3)
    return adam.update(weights, gradients, state, count, rate, decay=1e-2)


def shifted(images, random):
    """Move every image by up to a pixel: the few there are go further."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    down, right = random.integers(0, 3, (2, len(images)))
    return np.stack([image[:, d : d + 8, r : r + 8] for image, d, r in zip(padded, down, right)])


def train(images, digits):
    random = np.random.default_rng(SEED)
    weights = initial_weights(jax.random.key(SEED))
    state = adam.initial_state(weights)
    for count in range(STEPS):
        chosen = random.integers(0, len(images), BATCH)
        batch = shifted(images[chosen], random)
        weights, state = step(weights, state, count, batch, digits[chosen])
    return jax.tree.map(np.asarray, weights)


def to_onnx(weights):
    graph = Graph("digits")

    def layer(kind, x, name, **attributes):
        w, b = weights[name]["w"], weights[name]["b"]
        return graph.op(kind, x, graph.constant(w), graph.constant(b), **attributes)

    x = graph.op("Relu", layer("Conv", "image", "conv1", pads=[1, 1, 1, 1]))
    x = graph.op("Relu", layer("Conv", x, "conv2", pads=[1, 1, 1, 1]))
    x = graph.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = graph.op("Flatten", x)
    x = graph.op("Relu", layer("Gemm", x, "dense1"))
    graph.op("Softmax", layer("Gemm", x, "dense2"), axis=1, output="probs")
    return graph.model(
        [("image", FLOAT, ["batch", 1, 8, 8])],
        [("probs", FLOAT, ["batch", 10])],
        examples.OPSET,
        "infergate-examples",
    )


def main():
    train_images, test_images, train_digits, test_digits = load()
    weights = train(train_images, train_digits)
    expected = np.asarray(jax.nn.softmax(logits(weights, test_images)))
    accuracy = float((expected.argmax(1) == test_digits).mean())
    print(f"held-out accuracy {accuracy:.4f} on {len(test_digits)} images")
    examples.refuse_below(accuracy, 0.97)

    model = examples.finish(to_onnx(weights))
    answers = examples.run_model(model, {"image": test_images})["probs"]
    examples.refuse_difference(answers, expected, 1e-5, "ONNX Runtime against jax")
    examples.save_model("digits", model, range(10), "probs")

    sevens = np.flatnonzero(test_digits == 7)
    examples.save_array("seven.npy", test_images[sevens[:1]])


if __name__ == "__main__":
    main()
