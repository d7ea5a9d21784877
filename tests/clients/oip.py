"""A client of the Open Inference Protocol made from our own protos, to say what `tritonclient` never would."""

import numpy as np

from refusals import TIMEOUT_S
from tensors import NUMPY, from_bytes, to_bytes

SERVICE = "inference.GRPCInferenceService"

# The list of InferTensorContents that carries each type.
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}

DATATYPES = {np.dtype(dtype): name for name, dtype in NUMPY.items()}


class OpenInference:
    """A channel, the messages of the protocol, and the calls."""

    def __init__(self, protos, channel):
        self.channel = channel
        self.messages = protos.package("inference")
        self.stub = protos.stub(channel, SERVICE)
        self._bytes = channel.unary_unary(f"/{SERVICE}/ModelInfer")

    def request(self, model, **fields):
        return self.messages.ModelInferRequest(model_name=model, **fields)

    def raw(self, model, **inputs):
        """A request with arrays in raw form."""
        request = self.request(model)
        for name, array in inputs.items():
            array = np.asarray(array)
            request.inputs.add(name=name, datatype=DATATYPES[array.dtype], shape=array.shape)
            request.raw_input_contents.append(to_bytes(array))
        return request

    def typed(self, model, name, datatype, shape, values, contents=None):
        """A request with one input in typed form."""
        request = self.request(model)
        tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
        getattr(tensor.contents, contents or CONTENTS[datatype]).extend(values)
        tensor.contents.SetInParent()
        return request

    def infer(self, request, **options):
        return self.stub.ModelInfer(request, **{"timeout": TIMEOUT_S, **options})

    def infer_bytes(self, message):
        """Sends these very bytes, whatever they are."""
        answer = self._bytes(message, timeout=TIMEOUT_S)
        return self.messages.ModelInferResponse.FromString(answer)

    @staticmethod
    def outputs(response):
        """The outputs of an answer in raw form, by name."""
        assert len(response.raw_output_contents) == len(response.outputs)
        return {
            output.name: from_bytes(raw, output.datatype, list(output.shape))
            for output, raw in zip(response.outputs, response.raw_output_contents)
        }
