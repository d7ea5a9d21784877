"""Small ONNX models, encoded by hand: what the tests need beyond the fixtures, without the `onnx` package."""

import struct

from wire import field

OPSET = 17
IR_VERSION = 8

# onnx.TensorProto.DataType by the protocol's names.
ELEMENT_TYPES = {
    "FP32": 1,
    "UINT8": 2,
    "INT8": 3,
    "UINT16": 4,
    "INT16": 5,
    "INT32": 6,
    "INT64": 7,
    "BYTES": 8,
    "BOOL": 9,
    "FP16": 10,
    "FP64": 11,
    "UINT32": 12,
    "UINT64": 13,
    "BF16": 16,
}


def identity(datatype, rank):
    """`x` → `y` of that rank, every dimension free."""
    dims = [f"d{axis}" for axis in range(rank)]
    return model(node("Identity", ["x"], ["y"]), [value("x", datatype, dims)], [value("y", datatype, dims)])


def scaled(factor):
    """`x` FP32 [n] → `y` = `x` × `factor`: an answer tells which model gave it."""
    constant = field(2, ELEMENT_TYPES["FP32"]) + field(8, "factor") + field(9, struct.pack("<f", factor))
    body = node("Mul", ["x", "factor"], ["y"]) + field(5, constant)
    return model(body, [value("x", "FP32", ["n"])], [value("y", "FP32", ["n"])])


def with_a_half():
    """`x` FP32 [n] → `y` = `x`, and `half` FP16 [] = 0.5."""
    constant = field(2, ELEMENT_TYPES["FP16"]) + field(8, "constant") + field(9, struct.pack("<e", 0.5))
    body = node("Identity", ["x"], ["y"]) + node("Identity", ["constant"], ["half"]) + field(5, constant)
    return model(body, [value("x", "FP32", ["n"])], [value("y", "FP32", ["n"]), value("half", "FP16", [])])


def model(body, inputs, outputs):
    """A model of these nodes and initializers."""
    values = [field(11, each) for each in inputs] + [field(12, each) for each in outputs]
    graph = body + field(2, "graph") + b"".join(values)
    return field(1, IR_VERSION) + field(7, graph) + field(8, field(2, OPSET))


def node(kind, inputs, outputs):
    names = b"".join(field(1, name) for name in inputs) + b"".join(field(2, name) for name in outputs)
    return field(1, names + field(4, kind))


def value(name, datatype, dims):
    shape = b"".join(field(1, field(2, dim)) for dim in dims)
    return field(1, name) + field(2, field(1, field(1, ELEMENT_TYPES[datatype]) + field(2, shape)))
