"""ONNX Runtime in Python as the judge of answers: the same library with the same options."""

import onnxruntime


def session(folder, model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    path = folder / model / "1/model.onnx"
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
