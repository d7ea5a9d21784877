"""Element types of the Open Inference Protocol as numpy has them, and values that show whether every bit survives."""

import struct

import ml_dtypes
import numpy as np

SEED = 20

NUMPY = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}

STRINGS = [b"", b"plain", b"\0", b"a\0b\0", "grüße".encode(), b"\xff\xfe\x80", b"\xed\xa0\x80", b"long " * 5000]


def identity_model(datatype):
    """The fixture that gives back what it takes."""
    return "identity_string" if datatype == "BYTES" else f"identity_{datatype.lower()}"


def samples(datatype, shape):
    """Elements with all kinds of bits, also such as are no number."""
    count = int(np.prod(shape, dtype=np.int64))
    if datatype == "BYTES":
        return np.array((STRINGS * count)[:count], dtype=np.object_).reshape(shape)
    dtype = np.dtype(NUMPY[datatype])
    random = np.random.default_rng(SEED)
    if datatype == "BOOL":
        return random.integers(0, 2, shape).astype(dtype)
    bits = b"\0" * dtype.itemsize + b"\xff" * dtype.itemsize + random.bytes(count * dtype.itemsize)
    return np.frombuffer(bits, dtype)[:count].reshape(shape)


def numbers(datatype):
    """A few elements that Python's numbers can carry too, with the smallest and the largest of the type."""
    if datatype == "BOOL":
        return [True, False, True]
    if datatype in ("FP32", "FP64"):
        return [0.0, -1.5, float(np.finfo(NUMPY[datatype]).max), float("inf")]
    limits = np.iinfo(NUMPY[datatype])
    return [0, 1, int(limits.min), int(limits.max)]


def to_bytes(array):
    """The raw form of a tensor."""
    if array.dtype == np.object_:
        return b"".join(struct.pack("<I", len(element)) + element for element in array.flat)
    return np.ascontiguousarray(array).tobytes()


def from_bytes(raw, datatype, shape):
    """The tensor of a raw form."""
    if datatype != "BYTES":
        return np.frombuffer(raw, NUMPY[datatype]).reshape(shape)
    elements, rest = [], raw
    while rest:
        (length,) = struct.unpack_from("<I", rest)
        elements.append(rest[4 : 4 + length])
        rest = rest[4 + length :]
    return np.array(elements, dtype=np.object_).reshape(shape)


def same(left, right):
    """Whether two tensors are the same, bit by bit."""
    return left.dtype == right.dtype and left.shape == right.shape and to_bytes(left) == to_bytes(right)
