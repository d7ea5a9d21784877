"""A client of TensorFlow Serving's protocol, made from our own protos: its public package would bring TensorFlow."""

import numpy as np

from refusals import TIMEOUT_S
from tensors import NUMPY, from_bytes, to_bytes

PREDICTION = "tensorflow.serving.PredictionService"
MODELS = "tensorflow.serving.ModelService"

# By the Open Inference Protocol's names: tensorflow.DataType, and the list that carries the type.
TYPES = {
    "FP32": ("DT_FLOAT", "float_val"),
    "FP64": ("DT_DOUBLE", "double_val"),
    "INT32": ("DT_INT32", "int_val"),
    "UINT8": ("DT_UINT8", "int_val"),
    "INT16": ("DT_INT16", "int_val"),
    "INT8": ("DT_INT8", "int_val"),
    "BYTES": ("DT_STRING", "string_val"),
    "INT64": ("DT_INT64", "int64_val"),
    "BOOL": ("DT_BOOL", "bool_val"),
    "BF16": ("DT_BFLOAT16", "half_val"),
    "UINT16": ("DT_UINT16", "int_val"),
    "FP16": ("DT_HALF", "half_val"),
    "UINT32": ("DT_UINT32", "uint32_val"),
    "UINT64": ("DT_UINT64", "uint64_val"),
}


class TensorFlowServing:
    """A channel, the messages of the protocol, and the calls."""

    def __init__(self, protos, channel):
        self.channel = channel
        self.messages = protos.package("tensorflow.serving")
        self.prediction = protos.stub(channel, PREDICTION)
        self.models = protos.stub(channel, MODELS)
        self._tensor = protos["tensorflow.TensorProto"]
        self._number_of = protos.pool.FindEnumTypeByName("tensorflow.DataType").values_by_name

    def spec(self, model, version=None, label=None, signature=""):
        spec = self.messages.ModelSpec(name=model, signature_name=signature)
        if version is not None:
            spec.version.value = version
        if label is not None:
            spec.version_label = label
        return spec

    def number_of(self, data_type):
        return self._number_of[data_type].number

    def tensor(self, data_type, shape, **data):
        """A TensorProto of that data type, by TensorFlow's name."""
        tensor = self._tensor(dtype=self.number_of(data_type), **data)
        tensor.tensor_shape.SetInParent()
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
        return tensor

    def content(self, datatype, array):
        """A tensor in `tensor_content`."""
        return self.tensor(TYPES[datatype][0], array.shape, tensor_content=to_bytes(array))

    def values(self, datatype, array):
        """A tensor in the list of its type."""
        data_type, field = TYPES[datatype]
        elements = array.view(np.uint16) if field == "half_val" else array
        return self.tensor(data_type, array.shape, **{field: elements.ravel().tolist()})

    def request(self, spec, **inputs):
        spec = self.spec(spec) if isinstance(spec, str) else spec
        return self.messages.PredictRequest(model_spec=spec, inputs=inputs)

    def predict(self, request, **options):
        return self.prediction.Predict(request, **{"timeout": TIMEOUT_S, **options})

    def predict_one(self, spec, **inputs):
        """The one output of a call."""
        [output] = self.predict(self.request(spec, **inputs)).outputs.values()
        return output


def shape_of(tensor):
    return [dim.size for dim in tensor.tensor_shape.dim]


def array_of(tensor, datatype):
    """The array that a TensorProto carries, whatever its form."""
    if tensor.tensor_content:
        return from_bytes(tensor.tensor_content, datatype, shape_of(tensor))
    field = TYPES[datatype][1]
    # Half floats are carried as numbers with the same bits.
    element = np.uint16 if field == "half_val" else NUMPY[datatype]
    elements = np.array(list(getattr(tensor, field)), element)
    return from_bytes(to_bytes(elements), datatype, shape_of(tensor))
