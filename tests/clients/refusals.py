"""What clients are told when a call fails, whichever client it was."""

from contextlib import contextmanager

import grpc
import pytest
from tritonclient.utils import InferenceServerException

# Longer messages overflow the trailers of some clients, which then tell of another error.
LONGEST_MESSAGE = 1024

# No call may wait longer than this for its answer.
TIMEOUT_S = 10


@contextmanager
def refused(code, *words):
    """Expects a failure with this code, whose message has all these words in it."""
    with pytest.raises((grpc.RpcError, InferenceServerException)) as caught:
        yield
    check(caught.value, code, *words)


def check(error, code, *words):
    """Sees that a failure has this code and that its message has all these words in it."""
    found, message = code_and_message(error)
    assert found == code, f"{found}: {message}"
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"
    assert len(message.encode()) <= LONGEST_MESSAGE


def code_and_message(error):
    if isinstance(error, InferenceServerException):
        return grpc.StatusCode[error.status().removeprefix("StatusCode.")], error.message()
    return error.code(), error.details()
