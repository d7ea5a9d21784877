#!/usr/bin/env python3
"""See that the answers of the models may be batched, and what batching is worth.

    python3 -m pip install -r benches/models/requirements.txt onnxruntime==1.31.1
    python3 benches/models/check.py

Rows that share a run must get the answers they get alone, and sequences of the
encoder those they get without padding. The times are of ONNX Runtime alone, with
one thread, and are only printed: they depend on the machine.
"""

import time
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime

HERE = Path(__file__).resolve().parent
SEED = 20
TOLERANCE = 1e-5  # of the largest value in the answer
BATCHES = (1, 4, 16, 32)
LENGTHS = (16, 64, 128)


def main():
    print(f"ONNX Runtime {onnxruntime.__version__}, one thread\n")
    models = {name: Model(name) for name in ("mlp", "cnn", "encoder")}
    for model in models.values():
        print(f"{model.name}: {model.signature()}")
    print()

    for name, rows in (("mlp", vectors), ("cnn", images), ("encoder", texts)):
        report(f"{name}: rows together and alone", *together_and_alone(models[name], rows(5)))
    encoder = models["encoder"]
    report("encoder: padded and unpadded", *padded_and_unpadded(encoder))
    report("encoder: lengths mixed in a batch and alone", *mixed_and_alone(encoder))
    refuse_numbers_that_are_none(encoder)

    heads = "".join(f"{f'batch {batch}':>18}" for batch in BATCHES)
    print(f"\n{'ms per run (per row)':<22}{heads}")
    for name, rows in (("mlp", vectors), ("cnn", images)):
        print_times(name, models[name], rows)
    for length in LENGTHS:
        print_times(f"encoder, {length} tokens", encoder, partial(texts, length=length))


class Model:
    def __init__(self, name):
        self.name = name
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            HERE / name / "1/model.onnx", options, providers=["CPUExecutionProvider"]
        )

    def signature(self):
        def listed(values):
            return ", ".join(f"{value.name} {value.shape}" for value in values)

        return f"{listed(self.session.get_inputs())} → {listed(self.session.get_outputs())}"

    def run(self, inputs):
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, inputs)))


# --- inputs ---------------------------------------------------------------------


def vectors(count):
    return {"x": np.random.default_rng(SEED).standard_normal((count, 512), np.float32)}


def images(count):
    return {"image": np.random.default_rng(SEED).random((count, 3, 32, 32), np.float32)}


def texts(count, length=24):
    ids = np.random.default_rng(SEED).integers(0, 1000, (count, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def padded(inputs, length):
    """Token 7 behind the tokens, so that a mask that is not heeded shows."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    more = ((0, 0), (0, length - ids.shape[1]))
    return {
        "input_ids": np.pad(ids, more, constant_values=7),
        "attention_mask": np.pad(mask, more),
    }


def cut(answers, length):
    return {**answers, "hidden": answers["hidden"][:, :length]}


# --- checks: each gives what was found and what was expected ----------------------


def together_and_alone(model, inputs):
    count = len(next(iter(inputs.values())))
    rows = [{name: array[i : i + 1] for name, array in inputs.items()} for i in range(count)]
    return [model.run(inputs)], [stacked([model.run(row) for row in rows])]


def padded_and_unpadded(model):
    """A length that is a multiple of nothing, to lengths that are and that are not."""
    inputs = texts(3, 23)
    longer = (24, 32, 101, 512)
    found = [cut(model.run(padded(inputs, length)), 23) for length in longer]
    return found, [model.run(inputs)] * len(longer)


def mixed_and_alone(model):
    lengths = (1, 5, 16, 23, 64)
    alone = [texts(1, length) for length in lengths]
    batch = stacked([padded(inputs, max(lengths)) for inputs in alone])
    answers = model.run(batch)
    rows = [
        {name: array[i : i + 1] for name, array in answers.items()} for i in range(len(lengths))
    ]
    found = [cut(row, length) for row, length in zip(rows, lengths)]
    return found, [model.run(inputs) for inputs in alone]


def stacked(rows):
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def report(what, found, expected):
    worst = max(
        np.abs(ours[name] - theirs[name]).max() / np.abs(theirs[name]).max()
        for ours, theirs in zip(found, expected)
        for name in theirs
    )
    print(f"{what}: differ by {worst:.1e} at most")
    if not worst <= TOLERANCE:
        raise SystemExit(f"{what} differ by more than {TOLERANCE}")


def refuse_numbers_that_are_none(model):
    inputs = texts(2, 8)
    inputs["attention_mask"][1] = 0
    if not all(np.isfinite(array).all() for array in model.run(inputs).values()):
        raise SystemExit("a row of padding alone gives numbers that are none")


# --- times ----------------------------------------------------------------------


def print_times(what, model, rows):
    times = [(batch, milliseconds(model, rows(batch))) for batch in BATCHES]
    cells = "".join(f"{f'{ms:.3f} ({ms / batch:.3f})':>18}" for batch, ms in times)
    print(f"{what:<22}{cells}")


def milliseconds(model, inputs, seconds=1.0):
    """The median over a second of runs, after 10 to warm up."""
    for _ in range(10):
        model.run(inputs)
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        model.run(inputs)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3


if __name__ == "__main__":
    main()
