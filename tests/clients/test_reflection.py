"""Reflection in both versions: a client that knows nothing of our protos can learn them from the server, and call."""

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from refusals import TIMEOUT_S

SERVICES = {
    "inference.GRPCInferenceService",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
    "grpc.health.v1.Health",
}
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]


@pytest.fixture(params=["v1", "v1alpha"])
def ask(request, fixtures, connect):
    """Asks one question. The messages of both versions are the same on the wire."""
    call = connect(fixtures).stream_stream(
        f"/grpc.reflection.{request.param}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )

    def ask(**question):
        [answer] = call(iter([reflection_pb2.ServerReflectionRequest(**question)]), timeout=TIMEOUT_S)
        return answer

    return ask


def test_every_service_is_listed(ask):
    listed = {service.name for service in ask(list_services="").list_services_response.service}
    assert SERVICES <= listed


@pytest.mark.parametrize("symbol", [*SERVICES, "inference.ModelInferRequest", "tensorflow.TensorProto"])
def test_every_symbol_is_described_by_its_file(ask, symbol):
    described = ask(file_containing_symbol=symbol).file_descriptor_response.file_descriptor_proto
    files = [descriptor_pb2.FileDescriptorProto.FromString(file) for file in described]
    names = {f"{file.package}.{each.name}" for file in files for each in (*file.service, *file.message_type)}
    assert symbol in names


@pytest.mark.xfail(strict=True, reason="tonic-reflection ends the stream instead", raises=grpc.RpcError)
def test_an_unknown_symbol_is_an_error_in_the_stream(ask):
    assert ask(file_containing_symbol="inference.Nothing").error_response.error_code == NOT_FOUND


def test_an_unknown_symbol_is_not_found_one_way_or_the_other(ask):
    try:
        code = ask(file_containing_symbol="inference.Nothing").error_response.error_code
    except grpc.RpcError as error:
        code = error.code().value[0]
    assert code == NOT_FOUND


def test_a_client_that_knows_only_reflection_can_call(fixtures, connect):
    channel = connect(fixtures)
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    method = pool.FindServiceByName("inference.GRPCInferenceService").FindMethodByName("ModelInfer")
    request = message_factory.GetMessageClass(method.input_type)(model_name="scalar")
    request.inputs.add(name="x", datatype="FP32", shape=[]).contents.fp32_contents.append(21)
    call = channel.unary_unary(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    assert call(request, timeout=TIMEOUT_S).outputs[0].contents.fp32_contents == [42]


def test_reflection_can_be_switched_off(serve, repository, connect):
    channel = connect(serve(repository("scalar"), "reflection.enabled=false"))
    database = ProtoReflectionDescriptorDatabase(channel)
    with pytest.raises(grpc.RpcError) as caught:
        database.get_services()
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
