"""A few lines over onnx.helper, so that a model's graph reads like its formula."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
INT64 = TensorProto.INT64


class Graph:
    """Collects nodes and constants in the order they are asked for."""

    def __init__(self, name: str):
        self.name = name
        self.nodes = []
        self.initializers = []

    def op(self, kind: str, *inputs: str, output: str = None, **attributes) -> str:
        """Add a node and return the name of its one output."""
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value, dtype=np.float32) -> str:
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def model(self, inputs: list, outputs: list, opset: int, producer: str) -> onnx.ModelProto:
        """Inputs and outputs are (name, element type, dimensions) each."""
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [helper.make_tensor_value_info(*described) for described in inputs],
            [helper.make_tensor_value_info(*described) for described in outputs],
            self.initializers,
        )
        return helper.make_model(
            graph, producer_name=producer, opset_imports=[helper.make_opsetid("", opset)]
        )
