"""What the tests share."""

import copy

import pytest

from project import RENDERED, documents


@pytest.fixture(scope="session")
def rendered():
    """What `kubectl apply` would send. Tests leave it as it is."""
    return documents(RENDERED)


@pytest.fixture
def copied(rendered):
    """The same, to be broken."""
    return copy.deepcopy(rendered)
