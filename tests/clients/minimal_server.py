"""A server of the Open Inference Protocol that has only what everybody has: no index, no configuration, no statistics."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf import message_factory

from oip import SERVICE

SLOW_S = 2.5


class Minimal:
    """A running server whose models answer with their first input, typed, whatever form that had; `slow` takes a while."""

    def __init__(self, protos, **models):
        """`models` by name, each with its versions."""
        self.models = models
        self.asked = Counter()
        self._messages = protos.package("inference")
        self._server = grpc.server(ThreadPoolExecutor(8))
        methods = protos.pool.FindServiceByName(SERVICE).methods_by_name
        handlers = {name: self._handler(methods[name]) for name in ("ModelReady", "ModelMetadata", "ModelInfer")}
        self._server.add_generic_rpc_handlers([Counted(self.asked)])
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self):
        self._server.stop(None).wait()

    def has(self, name, version):
        return name in self.models and (not version or version in self.models[name])

    def _handler(self, method):
        return grpc.unary_unary_rpc_method_handler(
            getattr(self, method.name),
            request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    def ModelReady(self, request, call):
        self.asked[request.name, request.version] += 1
        return self._messages.ModelReadyResponse(ready=self.has(request.name, request.version))

    def ModelMetadata(self, request, call):
        if not self.has(request.name, request.version):
            call.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.name}")
        tensor = {"datatype": "INT32", "shape": [-1]}
        return self._messages.ModelMetadataResponse(
            name=request.name,
            versions=self.models[request.name],
            platform="minimal",
            inputs=[{"name": "x", **tensor}],
            outputs=[{"name": "y", **tensor}],
        )

    def ModelInfer(self, request, call):
        if not self.has(request.model_name, request.model_version):
            call.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.model_name}")
        time.sleep(SLOW_S if request.model_name == "slow" else 0)
        [x] = request.inputs
        response = self._messages.ModelInferResponse(model_name=request.model_name, model_version="one", id="made-up")
        y = response.outputs.add(name="y", datatype=x.datatype, shape=x.shape)
        y.contents.CopyFrom(x.contents)
        for raw in request.raw_input_contents:
            y.contents.int_contents.extend(memoryview(raw).cast("i"))
        return response


class Counted(grpc.GenericRpcHandler):
    """Counts calls of each method, and leaves them to the next."""

    def __init__(self, asked):
        self._asked = asked

    def service(self, details):
        self._asked[details.method.rpartition("/")[2]] += 1
