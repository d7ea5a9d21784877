"""TensorFlow Serving's questions about models, and what of its protocol is not served."""

import grpc
import pytest

from refusals import TIMEOUT_S, refused
from tensorflow_serving import TensorFlowServing

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
LOADING, AVAILABLE, END = 20, 30, 50


@pytest.fixture
def serving(protos, fixtures, connect):
    return TensorFlowServing(protos, connect(fixtures))


def metadata(serving, spec, *fields):
    request = serving.messages.GetModelMetadataRequest(model_spec=spec, metadata_field=fields)
    return serving.prediction.GetModelMetadata(request, timeout=TIMEOUT_S)


def status(serving, spec):
    request = serving.messages.GetModelStatusRequest(model_spec=spec)
    return serving.models.GetModelStatus(request, timeout=TIMEOUT_S).model_version_status


def test_metadata_is_the_signature(serving):
    response = metadata(serving, serving.spec("add"), "signature_def")
    assert (response.model_spec.name, response.model_spec.version.value) == ("add", 1)
    [(key, packed)] = response.metadata.items()
    signatures = serving.messages.SignatureDefMap()
    assert key == "signature_def" and packed.Is(signatures.DESCRIPTOR) and packed.Unpack(signatures)
    [(name, signature)] = signatures.signature_def.items()
    assert (name, signature.method_name) == ("serving_default", "tensorflow/serving/predict")
    assert sorted(signature.inputs) == ["a", "b"] and sorted(signature.outputs) == ["difference", "sum"]
    a = signature.inputs["a"]
    assert (a.name, a.dtype) == ("a", serving.number_of("DT_FLOAT"))
    assert [dim.size for dim in a.tensor_shape.dim] == [-1, 4]


def test_metadata_of_a_scalar_has_a_shape_without_dimensions(serving):
    signatures = serving.messages.SignatureDefMap()
    metadata(serving, serving.spec("scalar"), "signature_def").metadata["signature_def"].Unpack(signatures)
    shape = signatures.signature_def["serving_default"].inputs["x"].tensor_shape
    assert not shape.dim and not shape.unknown_rank


@pytest.mark.direct("only the server that has a model knows the labels of its versions")
def test_metadata_that_there_is_none_of_is_refused(serving):
    for fields in ([], ["weights"], ["signature_def", "weights"]):
        with refused(INVALID, "signature_def"):
            metadata(serving, serving.spec("add"), *fields)
    for spec in (serving.spec("nobody"), serving.spec("add", version=7), serving.spec("add", label="no")):
        with refused(NOT_FOUND):
            metadata(serving, spec, "signature_def")
    with refused(INVALID):
        metadata(serving, None, "signature_def")


def test_the_status_of_a_model_that_serves(serving):
    for spec in (serving.spec("add"), serving.spec("add", version=1)):
        [version] = status(serving, spec)
        assert (version.version, version.state, version.status.error_code) == (1, AVAILABLE, 0)
        assert version.status.error_message == ""


def test_the_status_of_a_broken_model_has_the_reason(serving):
    [version] = status(serving, serving.spec("zipmap"))
    assert (version.version, version.state) == (1, END)
    assert version.status.error_code == UNAVAILABLE.value[0]
    assert "zipmap=False" in version.status.error_message


@pytest.mark.direct("only the server that has a model knows the labels of its versions")
def test_the_status_of_what_is_not_there(serving):
    for spec in (serving.spec("nobody"), serving.spec("add", version=7), serving.spec("add", label="no")):
        with refused(NOT_FOUND, spec.name):
            status(serving, spec)
    with refused(INVALID):
        status(serving, None)


@pytest.mark.direct("only the server that has a model knows the labels of its versions")
def test_the_status_has_every_version_and_its_label(serve, repository, protos, connect):
    folder = repository("add")
    for version in ("2", "3"):
        (folder / "add" / version).mkdir()
        (folder / "add" / version / "model.onnx").write_bytes((folder / "add/1/model.onnx").read_bytes())
    (folder / "add/3/model.onnx").write_bytes(b"garbage")
    (folder / "add/model.toml").write_text('versions = "all"\nversion_labels = { stable = 2 }\n')
    serving = TensorFlowServing(protos, connect(serve(folder)))
    states = {each.version: each.state for each in status(serving, serving.spec("add"))}
    assert states == {1: AVAILABLE, 2: AVAILABLE, 3: END}
    [labelled] = status(serving, serving.spec("add", label="stable"))
    assert labelled.version == 2


@pytest.mark.parametrize(
    ("service", "method", "request_of"),
    [
        ("prediction", "Classify", "ClassificationRequest"),
        ("prediction", "Regress", "RegressionRequest"),
        ("prediction", "MultiInference", "MultiInferenceRequest"),
        ("models", "HandleReloadConfigRequest", "ReloadConfigRequest"),
    ],
)
def test_what_is_not_served_is_refused_with_a_sentence(serving, service, method, request_of):
    call = getattr(getattr(serving, service), method)
    with refused(grpc.StatusCode.UNIMPLEMENTED, "use "):
        call(getattr(serving.messages, request_of)(), timeout=TIMEOUT_S)
