"""Train the language example: a small transformer that reads UTF-8 bytes.

    python3 examples/training/language.py

A convolution over neighbouring bytes stands in for position embeddings: letter
order is all the position this task needs, and no longest text comes with it.
"""

import jax
import jax.numpy as jnp
import numpy as np

import adam
import examples
import sentences
from onnx_graph import FLOAT, INT64, Graph

SEED = 7
STEPS = 1200
BATCH = 64
LENGTH = 128  # bytes seen at once in training; the model itself has no limit

SYMBOLS = 257  # padding and 256 byte values
WIDTH = 80
NEIGHBOURS = 5
HEADS = 4
HIDDEN = 160
LAYERS = 2
LANGUAGES = list(sentences.LANGUAGES.values())


# --- data ---------------------------------------------------------------------


def split(everything):
    """A seventh of the messages is held out, in all their languages."""
    messages = sorted({sentence.message for sentence in everything})
    chosen = np.random.default_rng(SEED).permutation(len(messages))[: len(messages) // 7]
    held_out = {messages[index] for index in chosen}
    train = [s for s in everything if s.message not in held_out]
    test = [s for s in everything if s.message in held_out and len(s.text) >= 20]
    return train, test


def encode(texts, length=None):
    """Byte values plus one, padded with zeros to the longest or to `length`."""
    rows = [np.frombuffer(text.encode(), np.uint8)[:length] for text in texts]
    array = np.zeros((len(rows), length or max(map(len, rows))), np.int64)
    for into, row in zip(array, rows):
        into[: len(row)] = row.astype(np.int64) + 1
    return array


def excerpt(text, random):
    """Some words of the text: the model should not need, nor know, all of it."""
    words = text.split()
    count = random.integers(1, len(words) + 1)
    while count < len(words) and sum(map(len, words[:count])) < 12:
        count += 1
    start = random.integers(0, len(words) - count + 1)
    text = " ".join(words[start : start + count])
    style = random.random()
    if style < 0.2:
        return text.lower()
    return text.rstrip(".:!?") if style < 0.5 else text


def batches(train):
    """Every language as often as any other, texts joined to a random length."""
    random = np.random.default_rng(SEED)
    by_language = [[s.text for s in train if s.language == i] for i in range(len(LANGUAGES))]
    for _ in range(STEPS):
        answers = random.integers(0, len(LANGUAGES), BATCH)
        texts = []
        for answer in answers:
            parts = random.choice(by_language[answer], random.integers(1, 3))
            texts.append(" ".join(excerpt(part, random) for part in parts))
        yield encode(texts, LENGTH), answers


# --- the model, for training --------------------------------------------------


def initial_weights(key):
    def matrix(*shape):
        nonlocal key
        key, use = jax.random.split(key)
        return jax.random.normal(use, shape) / np.sqrt(np.prod(shape[:-1]))

    def norm():
        return {"scale": jnp.ones(WIDTH), "shift": jnp.zeros(WIDTH)}

    def layer():
        return {
            "norm1": norm(),
            "qkv": matrix(WIDTH, 3 * WIDTH),
            "out": matrix(WIDTH, WIDTH),
            "norm2": norm(),
            "up": matrix(WIDTH, HIDDEN),
            "up_bias": jnp.zeros(HIDDEN),
            "down": matrix(HIDDEN, WIDTH),
        }

    return {
        "embedding": matrix(SYMBOLS, WIDTH) * np.sqrt(SYMBOLS),
        "neighbours": matrix(NEIGHBOURS, WIDTH, WIDTH),
        "layers": [layer() for _ in range(LAYERS)],
        "norm": norm(),
        "answer": matrix(WIDTH, len(LANGUAGES)),
        "answer_bias": jnp.zeros(len(LANGUAGES)),
    }


def normalize(x, norm):
    x = x - x.mean(-1, keepdims=True)
    return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * norm["scale"] + norm["shift"]


def heads(x):
    return x.reshape(*x.shape[:2], HEADS, WIDTH // HEADS).transpose(0, 2, 1, 3)


def attend(x, layer, mask):
    q, k, v = map(heads, jnp.split(x @ layer["qkv"], 3, axis=-1))
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(WIDTH // HEADS)
    weights = jax.nn.softmax(scores + (mask[:, None, None, :] - 1) * 1e9)
    return (weights @ v).transpose(0, 2, 1, 3).reshape(x.shape) @ layer["out"]


def logits(weights, symbols, drop=lambda x: x):
    mask = (symbols > 0).astype(jnp.float32)
    x = drop(weights["embedding"][symbols] * mask[..., None])
    x = jax.nn.relu(
        jax.lax.conv_general_dilated(
            x, weights["neighbours"], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
        )
    )
    for layer in weights["layers"]:
        x = x + drop(attend(normalize(x, layer["norm1"]), layer, mask))
        y = jax.nn.relu(normalize(x, layer["norm2"]) @ layer["up"] + layer["up_bias"])
        x = x + drop(y @ layer["down"])
    x = normalize(x, weights["norm"]) * mask[..., None]
    mean = x.sum(1) / jnp.maximum(mask.sum(1, keepdims=True), 1)
    return drop(mean) @ weights["answer"] + weights["answer_bias"]


# --- training -----------------------------------------------------------------


def dropper(key, rate):
    def drop(x):
        nonlocal key
        key, use = jax.random.split(key)
        return x * jax.random.bernoulli(use, 1 - rate, x.shape) / (1 - rate)

    return drop


def loss(weights, symbols, answers, key):
    scores = jax.nn.log_softmax(logits(weights, symbols, dropper(key, 0.1)))
    right = jnp.take_along_axis(scores, answers[:, None], 1).mean()
    # A little doubt on every answer keeps the others from reaching zero.
    return -(0.95 * right + 0.05 * scores.mean())


@jax.jit
def step(weights, state, count, symbols, answers):
    key = jax.random.fold_in(jax.random.key(SEED), count)
    value, gradients = jax.value_and_grad(loss)(weights, symbols, answers, key)
    rate = adam.one_cycle(count, STEPS, 2e-3)
    weights, state = adam.update(weights, gradients, state, count, rate, decay=3e-2)
    return weights, state, value


def train_weights(train):
    weights = initial_weights(jax.random.key(SEED))
    state = adam.initial_state(weights)
    for count, (symbols, answers) in enumerate(batches(train)):
        weights, state, value = step(weights, state, count, symbols, answers)
        if count % 250 == 0:
            print(f"step {count}: loss {float(value):.3f}", flush=True)
    return jax.tree.map(np.asarray, weights)


def probabilities(weights, symbols):
    return np.asarray(jax.nn.softmax(logits(weights, symbols)))


# --- the same model, for ONNX Runtime -------------------------------------------


def to_onnx(weights):
    graph = Graph("language")
    op, constant, integers = graph.op, graph.constant, graph.integers
    flags = op("Cast", op("Greater", "bytes", constant(0, np.int64)), to=FLOAT)
    mask = op("Unsqueeze", flags, integers(2))
    absent = op("Sub", op("Unsqueeze", flags, integers(1, 2)), constant(1))
    hidden = op("Mul", absent, constant(1e9))

    x = op("Mul", op("Gather", constant(weights["embedding"]), "bytes"), mask)
    x = convolve_onnx(graph, x, weights["neighbours"])
    for layer in weights["layers"]:
        y = normalize_onnx(graph, x, layer["norm1"])
        x = op("Add", x, attend_onnx(graph, y, layer, hidden))
        y = op("MatMul", normalize_onnx(graph, x, layer["norm2"]), constant(layer["up"]))
        y = op("Relu", op("Add", y, constant(layer["up_bias"])))
        x = op("Add", x, op("MatMul", y, constant(layer["down"])))
    x = op("Mul", normalize_onnx(graph, x, weights["norm"]), mask)
    count = op("Max", op("ReduceSum", flags, integers(1), keepdims=1), constant(1))
    mean = op("Div", op("ReduceSum", x, integers(1), keepdims=0), count)
    scores = op(
        "Add", op("MatMul", mean, constant(weights["answer"])), constant(weights["answer_bias"])
    )
    op("Softmax", scores, axis=-1, output="probs")
    return graph.model(
        [("bytes", INT64, ["batch", "length"])],
        [("probs", FLOAT, ["batch", len(LANGUAGES)])],
        examples.OPSET,
        "infergate-examples",
    )


def normalize_onnx(graph, x, norm):
    scale, shift = graph.constant(norm["scale"]), graph.constant(norm["shift"])
    return graph.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-5)


def convolve_onnx(graph, x, kernel):
    # ONNX wants channels before places, in the data and in the kernel.
    x = graph.op("Transpose", x, perm=[0, 2, 1])
    kernel = graph.constant(kernel.transpose(2, 1, 0))
    around = NEIGHBOURS // 2
    x = graph.op("Relu", graph.op("Conv", x, kernel, pads=[around, around]))
    return graph.op("Transpose", x, perm=[0, 2, 1])


def attend_onnx(graph, x, layer, hidden):
    op, constant, integers = graph.op, graph.constant, graph.integers
    size = WIDTH // HEADS

    def project(place):
        part = layer["qkv"][:, place * WIDTH : (place + 1) * WIDTH]
        y = op("Reshape", op("MatMul", x, constant(part)), integers(0, 0, HEADS, size))
        # Keys come out transposed, ready to be multiplied with.
        return op("Transpose", y, perm=[0, 2, 3, 1] if place == 1 else [0, 2, 1, 3])

    q, k, v = project(0), project(1), project(2)
    scores = op("Mul", op("MatMul", q, k), constant(1 / np.sqrt(size)))
    shares = op("Softmax", op("Add", scores, hidden), axis=-1)
    y = op("Transpose", op("MatMul", shares, v), perm=[0, 2, 1, 3])
    return op("MatMul", op("Reshape", y, integers(0, 0, WIDTH)), constant(layer["out"]))


# --- checks -------------------------------------------------------------------


def report(expected, test):
    answers = np.array([sentence.language for sentence in test])
    right = expected.argmax(1) == answers
    for index, language in enumerate(LANGUAGES):
        print(f"  {language:<11}{right[answers == index].mean():.3f}")
    print(f"held-out accuracy {right.mean():.4f} on {len(test)} sentences")
    return float(right.mean())


def check_padding(model, test):
    """A text alone and the same text padded to another's length must agree."""
    for sentence in test[::25]:
        symbols = encode([sentence.text])
        alone = examples.run_model(model, {"bytes": symbols})["probs"]
        padded = np.pad(symbols, ((0, 0), (0, 300)))
        yield np.abs(alone - examples.run_model(model, {"bytes": padded})["probs"]).max()


def example_sentence(language, expected, test):
    """The first held-out sentence of middling length that had no placeholder cut out."""
    index = LANGUAGES.index(language)
    return next(
        sentence.text
        for sentence, probs in zip(test, expected)
        if sentence.language == index
        and probs.argmax() == index
        and 40 <= len(sentence.text) <= 70
        and not sentences.FOREIGN.search(sentence.message)
    )


def main():
    train, test = split(sentences.load())
    print(f"{len(train)} sentences to train on, {len(test)} held out")
    weights = train_weights(train)
    symbols = encode([sentence.text for sentence in test])
    expected = probabilities(weights, symbols)
    examples.refuse_below(report(expected, test), 0.9)

    model = examples.finish(to_onnx(weights))
    answers = examples.run_model(model, {"bytes": symbols})["probs"]
    examples.refuse_difference(answers, expected, 1e-4, "ONNX Runtime against jax")
    examples.refuse_difference(max(check_padding(model, test)), 0, 1e-4, "padded against alone")
    examples.save_model("language", model, LANGUAGES, "probs")

    for language in ["German", "Portuguese"]:
        text = example_sentence(language, expected, test)
        print(f"{language}: {text}")
        examples.save_array(f"{language.lower()}.npy", encode([text]))


if __name__ == "__main__":
    main()
