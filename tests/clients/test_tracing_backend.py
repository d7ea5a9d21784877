"""Calls through a gateway as a public tracing back end draws them."""

import pytest

import phoenix
from process import Split
from triton_calls import floats, infer

pytestmark = pytest.mark.direct("it has a gateway of its own")

METHOD = "inference.GRPCInferenceService/ModelInfer"
CALLS = 3


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    phoenix.needed()
    running = phoenix.Phoenix(tmp_path_factory.mktemp("phoenix"))
    yield running
    running.stop()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_each_call_is_one_tree_from_the_gateway_to_the_batch(backend, protocol, repository, triton_client, tmp_path):
    known = set(backend.traces(0))
    settings = (f"tracing.endpoint={backend.endpoint(protocol)}", f"tracing.protocol={protocol}", "tracing.ratio=1.0")
    split = Split(repository("identity_fp32"), tmp_path / "worker.log", settings)
    client = triton_client(split)
    for _ in range(CALLS):
        infer(client, "identity_fp32", x=floats(3))
    split.stop()
    traces = backend.traces(len(known) + CALLS)
    new = [spans for trace, spans in traces.items() if trace not in known]
    assert len(new) == CALLS
    for spans in new:
        by_id = {span["context"]["span_id"]: span for span in spans}
        batch = next(span for span in spans if span["name"] == "batch")
        path = [batch["name"]]
        while (batch := by_id.get(batch["parent_id"])) is not None:
            path.append(batch["name"])
        # The call at the worker, the attempt and the call of the gateway that asked for it, and the call at the gateway.
        assert path == ["batch", METHOD, f"Attempt.{METHOD}", METHOD, METHOD]
        root = next(span for span in spans if span["parent_id"] is None)
        assert root["attributes"]["rpc.response.status_code"] == "OK"
        for span in spans:
            parent = by_id.get(span["parent_id"], root)
            if parent["name"].startswith("Attempt."):
                # The times of another process are by that one's clock.
                continue
            assert parent["start_time"] <= span["start_time"] <= span["end_time"] <= parent["end_time"]
