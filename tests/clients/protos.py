"""Messages and stubs made from `proto/`, in a pool of their own.

The public clients register the same names in protobuf's default pool, where nothing may be registered twice.
"""

from importlib.resources import files
from types import SimpleNamespace

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

from process import PROJECT


class Protos:
    """Every message and service of `proto/`, by full name."""

    def __init__(self, folder):
        sources = sorted(path.name for path in (PROJECT / "proto").glob("*.proto"))
        compiled = folder / "descriptors.bin"
        failed = protoc.main(
            [
                "protoc",
                f"--proto_path={PROJECT / 'proto'}",
                f"--proto_path={files('grpc_tools') / '_proto'}",
                "--include_imports",
                f"--descriptor_set_out={compiled}",
                *sources,
            ]
        )
        assert not failed, "protoc refused proto/"
        self.pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file:
            self.pool.Add(file)

    def __getitem__(self, message):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(message))

    def package(self, name):
        """The messages of a package as attributes."""
        return Package(self, name)

    def stub(self, channel, service):
        """A client of `service` with a callable for each of its methods."""
        methods = self.pool.FindServiceByName(service).methods
        return SimpleNamespace(**{method.name: callable_of(channel, service, method) for method in methods})


class Package:
    def __init__(self, protos, name):
        self._protos, self._name = protos, name

    def __getattr__(self, message):
        return self._protos[f"{self._name}.{message}"]


def callable_of(channel, service, method):
    kinds = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, True): channel.stream_stream,
    }
    return kinds[method.client_streaming, method.server_streaming](
        f"/{service}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
