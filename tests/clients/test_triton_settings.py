"""`tritonclient`, unmodified: the settings of the log and of traces, told and changed while the server runs."""

import grpc
import pytest

from refusals import TIMEOUT_S, refused

UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
INVALID = grpc.StatusCode.INVALID_ARGUMENT

# A collector that nobody answers for: spans are made, and dropped.
COLLECTOR = "tracing.endpoint=http://127.0.0.1:9"


def test_the_logs_level_is_told_and_changed(serve, repository, triton_client):
    client = triton_client(serve(repository("add"), "log.level=info"))
    told = client.get_log_settings(as_json=True, client_timeout=TIMEOUT_S)["settings"]
    assert told["log_info"] == {"bool_param": True}
    assert told["log_verbose_level"] == {"uint32_param": 0}
    assert told["log_format"] == {"string_param": "ISO8601"}
    told = client.update_log_settings({"log_verbose_level": 1, "log_format": "json"}, client_timeout=TIMEOUT_S)
    assert told.settings["log_verbose_level"].uint32_param == 1
    told = client.update_log_settings({"log_info": False})
    assert not told.settings["log_info"].bool_param and told.settings["log_warning"].bool_param
    with refused(UNIMPLEMENTED, "log_file", "standard error"):
        client.update_log_settings({"log_file": "/tmp/log", "log_error": False})
    with refused(INVALID, "log_everything", "allowed are"):
        client.update_log_settings({"log_everything": True})
    assert client.get_log_settings().settings == told.settings


def test_the_rate_of_traces_is_told_and_changed(serve, repository, triton_client):
    client = triton_client(serve(repository("add"), COLLECTOR, "tracing.ratio=0.01"))
    told = client.get_trace_settings(as_json=True, client_timeout=TIMEOUT_S)["settings"]
    assert told["trace_level"]["value"] == ["TIMESTAMPS"]
    assert told["trace_rate"]["value"] == ["100"]
    assert told["trace_mode"]["value"] == ["opentelemetry"]
    told = client.update_trace_settings(settings={"trace_rate": "4", "trace_level": ["OFF"]}, client_timeout=TIMEOUT_S)
    assert list(told.settings["trace_rate"].value) == ["4"]
    assert list(told.settings["trace_level"].value) == ["OFF"]
    told = client.update_trace_settings(settings={"trace_rate": None, "trace_level": "TIMESTAMPS"})
    assert list(told.settings["trace_rate"].value) == ["100"]
    assert client.get_trace_settings("add").settings == told.settings
    with refused(UNIMPLEMENTED, "model"):
        client.update_trace_settings("add", {"trace_rate": "4"})
    with refused(UNIMPLEMENTED, "TENSORS"):
        client.update_trace_settings(settings={"trace_level": ["TENSORS"]})
    assert client.get_trace_settings().settings == told.settings


def test_without_a_collector_nothing_can_be_traced(client):
    assert list(client.get_trace_settings().settings["trace_level"].value) == ["OFF"]
    with refused(UNIMPLEMENTED, "tracing.endpoint"):
        client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})


@pytest.mark.parametrize("change", ["update_log_settings", "update_trace_settings"])
def test_whoever_may_not_control_models_may_not_change_settings(serve, repository, triton_client, change):
    client = triton_client(serve(repository("add"), "allow_model_control=false", COLLECTOR))
    settings = {"update_log_settings": {"log_info": False}, "update_trace_settings": {"trace_rate": "4"}}[change]
    with refused(grpc.StatusCode.PERMISSION_DENIED, "allow_model_control"):
        getattr(client, change)(settings=settings)
    assert client.get_log_settings().settings["log_info"].bool_param
