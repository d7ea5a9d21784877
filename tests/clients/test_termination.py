"""A run that nobody waits for any more is stopped: its instance is free again, and the CPU idle."""

import time
from pathlib import Path

import grpc
import numpy as np
import pytest

from refusals import TIMEOUT_S, check, refused

DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED

# Days, if nothing stopped it.
ENDLESS = 2_000_000_000

# Both instances, and some that wait for one.
CALLS = 4

# How long the next call may take to be answered after both instances were busy for nobody.
SOON_S = 3

# How much later than its deadline a call may be answered. The server needs about a millisecond, the client more.
PROMPT_S = 1

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads CPU time from /proc")


def slow(client, iterations):
    return client.raw("slow", iterations=np.array(iterations, np.int64))


def begin(client, **options):
    return [client.stub.ModelInfer.future(slow(client, ENDLESS), **options) for _ in range(CALLS)]


def expect_freed(client):
    """Both instances answer again."""
    began = time.monotonic()
    calls = [client.stub.ModelInfer.future(slow(client, 200), timeout=TIMEOUT_S) for _ in range(2)]
    for call in calls:
        assert 0.49 < client.outputs(call.result(timeout=TIMEOUT_S))["y"] < 0.51
    assert time.monotonic() - began < SOON_S


def expect_idle(server):
    """The process comes to rest: less than 5 % of one CPU over a fifth of a second."""
    deadline = time.monotonic() + SOON_S
    while True:
        before, began = cpu_ticks(server.pid), time.monotonic()
        time.sleep(0.2)
        if cpu_ticks(server.pid) - before <= 1:
            return
        assert began < deadline, "the server is still busy, for nobody"


def expect_busy(server):
    """It spends a twentieth of a second of CPU time."""
    deadline, before = time.monotonic() + SOON_S, cpu_ticks(server.pid)
    while cpu_ticks(server.pid) - before < 5:
        assert time.monotonic() < deadline, "no call runs"
        time.sleep(0.01)


def cpu_ticks(pid):
    """User and system time, in hundredths of a second."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(after_name[11]) + int(after_name[12])


@needs_proc
def test_calls_past_the_servers_deadline_are_answered_promptly_and_stopped(serve, repository, open_inference):
    server = serve(repository("slow"), "limits.default_deadline=400ms")
    client = open_inference(server)
    began = time.monotonic()
    for call in begin(client):
        # Without a timeout of the call's own, so that it is the server that says so.
        with pytest.raises(grpc.RpcError) as caught:
            call.result(timeout=TIMEOUT_S)
        check(caught.value, DEADLINE_EXCEEDED, "deadline exceeded while waiting")
        assert 0.35 < time.monotonic() - began < 0.4 + PROMPT_S
    expect_freed(client)
    expect_idle(server)


@needs_proc
def test_a_deadline_that_is_longer_than_allowed_is_cut(serve, repository, open_inference):
    server = serve(repository("slow"), "limits.max_deadline=300ms", "limits.default_deadline=300ms")
    client = open_inference(server)
    began = time.monotonic()
    with refused(DEADLINE_EXCEEDED, "deadline exceeded while"):
        client.infer(slow(client, ENDLESS))
    assert time.monotonic() - began < 0.3 + PROMPT_S
    expect_idle(server)


@pytest.fixture
def own(serve, repository, open_inference):
    server = serve(repository("slow"))
    return server, open_inference(server)


@needs_proc
def test_calls_past_the_callers_timeout_are_stopped(own):
    server, client = own
    for call in begin(client, timeout=0.4):
        with refused(DEADLINE_EXCEEDED):
            call.result()
    expect_freed(client)
    expect_idle(server)


@needs_proc
def test_calls_that_their_caller_takes_back_are_stopped(own):
    server, client = own
    calls = begin(client, timeout=TIMEOUT_S)
    # On the same connection, so that the calls are with the server once this is answered.
    client.stub.ServerLive(client.messages.ServerLiveRequest(), timeout=TIMEOUT_S)
    for call in calls:
        assert call.cancel()
    expect_freed(client)
    expect_idle(server)


@needs_proc
def test_calls_of_a_connection_that_is_gone_are_stopped(own, open_inference):
    server, client = own
    other = open_inference(server)
    begin(other, timeout=TIMEOUT_S)
    other.stub.ServerLive(other.messages.ServerLiveRequest(), timeout=TIMEOUT_S)
    other.channel.close()
    expect_freed(client)
    expect_idle(server)


@needs_proc
def test_calls_of_a_stream_that_is_cancelled_are_stopped(own):
    server, client = own
    stream = client.stub.ModelStreamInfer(iter([slow(client, ENDLESS)] * CALLS), timeout=TIMEOUT_S)
    expect_busy(server)
    stream.cancel()
    expect_freed(client)
    expect_idle(server)


@needs_proc
def test_calls_in_flight_past_the_grace_are_cut_off(serve, repository, open_inference):
    server = serve(repository("slow"), "drain.grace=300ms")
    client = open_inference(server)
    calls = begin(client, timeout=TIMEOUT_S)
    client.stub.ServerLive(client.messages.ServerLiveRequest(), timeout=TIMEOUT_S)
    began = time.monotonic()
    server.terminate()
    assert server.wait() == 0
    assert time.monotonic() - began < SOON_S
    for call in calls:
        with refused(grpc.StatusCode.UNAVAILABLE):
            call.result(timeout=TIMEOUT_S)
