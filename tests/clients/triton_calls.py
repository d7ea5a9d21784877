"""Short ways to call with `tritonclient`."""

import queue

import numpy as np
import tritonclient.grpc as triton

from oip import DATATYPES
from refusals import TIMEOUT_S


def floats(*shape):
    """Ascending FP32 elements."""
    return np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)


def inputs_of(arrays):
    inputs = []
    for name, array in arrays.items():
        tensor = triton.InferInput(name, list(array.shape), DATATYPES[array.dtype])
        inputs.append(tensor.set_data_from_numpy(array))
    return inputs


def infer(client, model, options=None, **arrays):
    """A blocking call with `arrays` as inputs."""
    return client.infer(model, inputs_of(arrays), **{"client_timeout": TIMEOUT_S, **(options or {})})


class Answers:
    """A callback for the client that keeps what it is called with."""

    def __init__(self):
        self._kept = queue.Queue()

    def __call__(self, result, error):
        self._kept.put((result, error))

    def next(self):
        """The next result, or raises the next error."""
        result, error = self._kept.get(timeout=TIMEOUT_S)
        if error:
            raise error
        return result
