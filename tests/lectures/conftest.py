"""The walkthroughs, computed once for all tests."""

from functools import cache

import pytest

from tatami.lectures.catalogue import open_lecture


@pytest.fixture(scope="session")
def lecture():
    """Return a function that opens a lecture, each only once."""
    return cache(open_lecture)
