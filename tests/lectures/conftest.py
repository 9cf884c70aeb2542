"""The walkthroughs, computed once for all tests."""

from functools import cache

import pytest

from tatami.lectures.catalogue import open_lecture
from tatami.lectures.walkthrough import Lecture, Request


@pytest.fixture(scope="session")
def lecture():
    """Return a function that opens a lecture, each only once."""
    return cache(opened)


def opened(name: str) -> Lecture:
    """Open a lecture with as little training as it can do with."""
    return open_lecture(name, Request(seeds=1))
