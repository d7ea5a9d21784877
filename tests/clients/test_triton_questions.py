"""`tritonclient`, unmodified: everything it asks about the server and its models, in both of its forms."""

import grpc
import pytest
import tritonclient.grpc as triton

from refusals import TIMEOUT_S, refused
from triton_calls import floats, infer

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED


def test_the_server_is_live_and_ready(client):
    assert client.is_server_live(client_timeout=TIMEOUT_S)
    assert client.is_server_ready(headers={"x-request": "1"}, client_timeout=TIMEOUT_S)


def test_a_model_is_ready_with_and_without_a_version_and_what_is_not_there_is_not(client):
    assert client.is_model_ready("add", client_timeout=TIMEOUT_S)
    assert client.is_model_ready("add", "1")
    assert not client.is_model_ready("add", "2")
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready("zipmap")


def test_metadata_says_only_what_is_served(client):
    metadata = client.get_server_metadata(client_timeout=TIMEOUT_S)
    assert metadata.name == "infergate"
    assert metadata.version
    assert "statistics" in metadata.extensions and "classification" in metadata.extensions
    served = {"classification", "model_repository", "model_configuration", "statistics", "parameters", "trace", "logging"}
    served |= {"binary_tensor_data", "model_repository(unload_dependents)"}
    assert set(metadata.extensions) <= served
    as_json = client.get_server_metadata(as_json=True)
    assert as_json == {
        "name": metadata.name,
        "version": metadata.version,
        "extensions": list(metadata.extensions),
    }


def test_a_models_metadata_is_its_signature(client):
    metadata = client.get_model_metadata("add", client_timeout=TIMEOUT_S)
    assert (metadata.name, list(metadata.versions)) == ("add", ["1"])
    assert metadata.platform == "onnxruntime_onnx"
    described = [(each.name, each.datatype, list(each.shape)) for each in metadata.inputs]
    assert described == [("a", "FP32", [-1, 4]), ("b", "FP32", [-1, 4])]
    assert [each.name for each in metadata.outputs] == ["sum", "difference"]
    as_json = client.get_model_metadata("add", "1", as_json=True)
    assert as_json["inputs"][0] == {"name": "a", "datatype": "FP32", "shape": ["-1", "4"]}


def test_a_scalar_and_an_empty_tensor_are_described_as_they_are(client):
    assert list(client.get_model_metadata("scalar").inputs[0].shape) == []
    assert list(client.get_model_metadata("empty").inputs[0].shape) == [0, 3]
    assert list(client.get_model_config("empty").config.input[0].dims) == [0, 3]


def test_a_models_configuration_is_told(client):
    config = client.get_model_config("optional_input", client_timeout=TIMEOUT_S).config
    assert (config.name, config.backend, config.max_batch_size) == ("optional_input", "onnxruntime", 0)
    assert [(each.name, each.optional) for each in config.input] == [("x", False), ("bias", True)]
    assert config.input[0].data_type == 11  # TYPE_FP32
    assert config.instance_group[0].count == 2
    assert not config.model_transaction_policy.decoupled
    as_json = client.get_model_config("optional_input", "1", as_json=True)
    assert as_json["config"]["input"][0] == {"name": "x", "data_type": "TYPE_FP32", "dims": ["-1"]}


def test_a_labelled_output_names_its_file_in_the_configuration(examples, triton_client):
    config = triton_client(examples).get_model_config("digits").config
    assert config.output[0].label_filename == "labels.txt"


@pytest.mark.parametrize("ask", ["get_model_metadata", "get_model_config", "get_inference_statistics"])
def test_questions_about_what_is_not_there_are_refused(client, ask):
    with refused(NOT_FOUND, "nobody"):
        getattr(client, ask)("nobody", client_timeout=TIMEOUT_S)
    with refused(NOT_FOUND, "add", "7"):
        getattr(client, ask)("add", "7")
    with refused(INVALID, "1.0"):
        getattr(client, ask)("add", "1.0")
    with refused(grpc.StatusCode.UNAVAILABLE, "zipmap"):
        getattr(client, ask)("zipmap")


def statistics(client, model):
    [found] = client.get_inference_statistics(model, client_timeout=TIMEOUT_S).model_stats
    return found


def test_statistics_count_each_call_once_with_its_time(client):
    infer(client, "matmul", x=floats(3, 16))
    before = statistics(client, "matmul")
    infer(client, "matmul", x=floats(3, 16))
    with refused(INVALID, "rank"):
        infer(client, "matmul", x=floats(16))
    after = statistics(client, "matmul")

    assert (after.name, after.version) == ("matmul", "1")
    assert after.inference_count - before.inference_count == 3
    assert after.execution_count - before.execution_count == 1
    assert after.last_inference >= before.last_inference > 1_600_000_000_000
    for part in ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"):
        then, now = getattr(before.inference_stats, part), getattr(after.inference_stats, part)
        assert now.count - then.count == 1, part
        assert now.ns >= then.ns, part
    assert after.inference_stats.success.ns > before.inference_stats.success.ns
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    batches = {batch.batch_size: batch.compute_infer.count for batch in after.batch_stats}
    assert batches[3] - {batch.batch_size: batch.compute_infer.count for batch in before.batch_stats}[3] == 1


def test_statistics_of_all_models_name_each_that_serves(client):
    names = {each.name for each in client.get_inference_statistics().model_stats}
    assert {"add", "matmul", "slow"} <= names and "zipmap" not in names
    as_json = client.get_inference_statistics("add", "1", as_json=True)
    assert as_json["model_stats"][0]["name"] == "add"


def test_the_repository_index_lists_every_model_in_order_with_its_state(client):
    models = client.get_model_repository_index(client_timeout=TIMEOUT_S).models
    assert [each.name for each in models] == sorted(each.name for each in models)
    states = {each.name: (each.version, each.state, bool(each.reason)) for each in models}
    assert states["add"] == ("1", "READY", False)
    assert states["zipmap"] == ("1", "UNAVAILABLE", True)
    as_json = client.get_model_repository_index(as_json=True)
    assert {"name": "add", "version": "1", "state": "READY"} in as_json["models"]


NOT_SERVED = {
    "get_system_shared_memory_status": (),
    "register_system_shared_memory": ("region", "/key", 16),
    "unregister_system_shared_memory": (),
    "get_cuda_shared_memory_status": (),
    "register_cuda_shared_memory": ("region", b"aGFuZGxl", 0, 16),
    "unregister_cuda_shared_memory": (),
}


@pytest.mark.parametrize("call", NOT_SERVED)
def test_shared_memory_calls_are_refused_with_a_sentence(client, call):
    with refused(UNIMPLEMENTED, " "):
        getattr(client, call)(*NOT_SERVED[call], client_timeout=TIMEOUT_S)


def test_tensors_in_shared_memory_are_refused(client):
    x = triton.InferInput("x", [4], "FP32")
    x.set_shared_memory("region", 16)
    with refused(UNIMPLEMENTED, "x", "shared memory"):
        client.infer("identity_fp32", [x], client_timeout=TIMEOUT_S)
    x.set_data_from_numpy(floats(4))
    y = triton.InferRequestedOutput("y")
    y.set_shared_memory("region", 16)
    with refused(UNIMPLEMENTED, "y", "shared memory"):
        client.infer("identity_fp32", [x], outputs=[y], client_timeout=TIMEOUT_S)


def test_a_model_can_be_unloaded_and_loaded_again(serve, repository, triton_client):
    client = triton_client(serve(repository("add", "scalar")))
    client.unload_model("add", client_timeout=TIMEOUT_S)
    assert not client.is_model_ready("add")
    assert client.is_model_ready("scalar")
    with refused(grpc.StatusCode.UNAVAILABLE, "add", "unloaded"):
        infer(client, "add", a=floats(1, 4), b=floats(1, 4))
    states = {each.name: each.state for each in client.get_model_repository_index().models}
    assert states == {"add": "UNAVAILABLE", "scalar": "READY"}

    client.load_model("add", headers={"x-request": "1"}, client_timeout=TIMEOUT_S)
    assert client.is_model_ready("add")
    assert infer(client, "add", a=floats(1, 4), b=floats(1, 4)).as_numpy("sum").shape == (1, 4)


def test_what_cannot_be_loaded_or_unloaded_is_refused(serve, repository, triton_client):
    client = triton_client(serve(repository("add", "zipmap")))
    for call in (client.load_model, client.unload_model):
        with refused(NOT_FOUND, "nobody"):
            call("nobody", client_timeout=TIMEOUT_S)
        for name in ("../add", "a/b", "", "a\0b"):
            with refused(INVALID, "model name"):
                call(name, client_timeout=TIMEOUT_S)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "zipmap", "zipmap=False"):
        client.load_model("zipmap", client_timeout=TIMEOUT_S)
    with refused(UNIMPLEMENTED, "config"):
        client.load_model("add", config="{}", client_timeout=TIMEOUT_S)
    with refused(UNIMPLEMENTED, "parameter"):
        client.load_model("add", config="{}", files={"file:1/model.onnx": b""}, client_timeout=TIMEOUT_S)
    client.unload_model("add", unload_dependents=True, client_timeout=TIMEOUT_S)
    assert not client.is_model_ready("add")


def test_loading_can_be_switched_off(serve, repository, triton_client):
    client = triton_client(serve(repository("add"), "allow_model_control=false"))
    for call in (client.load_model, client.unload_model):
        with refused(grpc.StatusCode.PERMISSION_DENIED, "allow_model_control"):
            call("add", client_timeout=TIMEOUT_S)
    assert client.is_model_ready("add")


def test_loading_twice_changes_nothing(serve, repository, triton_client):
    client = triton_client(serve(repository("add")))
    before = statistics(client, "add")
    client.load_model("add", client_timeout=TIMEOUT_S)
    client.load_model("add", client_timeout=TIMEOUT_S)
    assert statistics(client, "add").version == before.version
    assert infer(client, "add", a=floats(1, 4), b=floats(1, 4)).as_numpy("difference").tolist() == [[0] * 4]
