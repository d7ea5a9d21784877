"""Models for Triton's Python backend that are called what fixtures are called, and answer as those do."""

from tensors import NUMPY, identity_model

# Models do not get PYTHONPATH by themselves, and the backend's own module needs numpy.
MODEL = """
import os, sys
sys.path += os.environ["PYTHONPATH"].split(os.pathsep)
import triton_python_backend_utils as triton

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request, triton.get_input_tensor_by_name) for request in requests]

    def answer(self, request, given):
"""

IDENTITY = """
        return triton.InferenceResponse([triton.Tensor("y", given(request, "x").as_numpy())])
"""

# numpy has no such type.
IDENTITY_BF16 = """
        return triton.InferenceResponse([triton.Tensor.from_dlpack("y", given(request, "x").to_dlpack())])
"""

ADD = """
        a, b = given(request, "a").as_numpy(), given(request, "b").as_numpy()
        if a.shape != b.shape:
            raise ValueError(f"{a.shape} and {b.shape} do not go together")
        return triton.InferenceResponse([triton.Tensor("sum", a + b), triton.Tensor("difference", a - b)])
"""

CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: {max_batch}
input [ {inputs} ]
output [ {outputs} ]
"""


def lay_down(folder):
    """A repository of `add` and of an identity for each type; returns its folder."""
    for datatype in NUMPY:
        code = IDENTITY_BF16 if datatype == "BF16" else IDENTITY
        tensor = {"type": "STRING" if datatype == "BYTES" else datatype, "dims": -1}
        model(folder, identity_model(datatype), code, 0, {"x": tensor}, {"y": tensor})
    four = {"type": "FP32", "dims": 4}
    model(folder, "add", ADD, 8, {"a": four, "b": four}, {"sum": four, "difference": four})
    return folder


def model(folder, name, code, max_batch, inputs, outputs):
    version = folder / name / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL + code)
    config = CONFIG.format(name=name, max_batch=max_batch, inputs=tensors(inputs), outputs=tensors(outputs))
    (folder / name / "config.pbtxt").write_text(config)


def tensors(described):
    entries = described.items()
    return ", ".join(f'{{ name: "{name}" data_type: TYPE_{of["type"]} dims: [ {of["dims"]} ] }}' for name, of in entries)
