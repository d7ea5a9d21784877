"""The other form of the same client, `tritonclient.grpc.aio`, unmodified."""

import asyncio

import grpc
import numpy as np
import tritonclient.grpc.aio as triton

from refusals import TIMEOUT_S, refused
from triton_calls import floats, inputs_of


def within_time(server, conversation):
    """Runs `conversation(client)` to its end, which must come soon."""

    async def run():
        async with triton.InferenceServerClient(server.address) as client:
            return await asyncio.wait_for(conversation(client), TIMEOUT_S)

    return asyncio.run(run())


def test_questions_and_calls_are_answered(fixtures):
    async def conversation(client):
        assert await client.is_server_ready() and await client.is_model_ready("add")
        assert (await client.get_model_metadata("add")).name == "add"
        result = await client.infer("identity_fp32", inputs_of({"x": floats(5)}), request_id="mine")
        assert result.get_response().id == "mine"
        assert np.array_equal(result.as_numpy("y"), floats(5))
        with refused(grpc.StatusCode.NOT_FOUND, "nobody"):
            await client.infer("nobody", inputs_of({"x": floats(5)}))

    within_time(fixtures, conversation)


def test_many_calls_at_one_time_get_each_its_own_answer(fixtures):
    async def conversation(client):
        calls = (client.infer("identity_fp32", inputs_of({"x": floats(count)})) for count in range(100))
        return [len(result.as_numpy("y")) for result in await asyncio.gather(*calls)]

    assert within_time(fixtures, conversation) == list(range(100))


def test_a_stream_keeps_the_order_and_goes_on_after_a_failure(fixtures):
    async def requests():
        for model in ("identity_fp32", "nobody", "identity_fp32"):
            yield {"model_name": model, "inputs": inputs_of({"x": floats(3)})}

    async def conversation(client):
        return [(result, error) async for result, error in client.stream_infer(requests(), stream_timeout=TIMEOUT_S)]

    first, failed, last = within_time(fixtures, conversation)
    assert "nobody" in failed[1].message()
    for result, error in (first, last):
        assert error is None and np.array_equal(result.as_numpy("y"), floats(3))
