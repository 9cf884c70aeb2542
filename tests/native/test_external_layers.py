"""Layers without a kernel inside a native program: the reference computes them as it does alone, on one thread."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from tatami import Dense, Flatten, Program, RandomKey, Sequential
from tatami.layers import LocallyConnected
from tatami.models import MODELS, build
from tatami.program.native import PlannedNetwork

pytest.importorskip("tatami.native._kernels")


@dataclass(frozen=True)
class OwnWindows(LocallyConnected, abstract=True):
    """A layer of a user's own, on no list of layers: no kernel is for it."""

    kind: ClassVar[str] = "own_windows"


@pytest.mark.filterwarnings("ignore::tatami.program.native.SlowLayerWarning")
@pytest.mark.parametrize("kind", ["forward", "backward"])
def test_matrix_products_of_external_layers_run_on_one_thread(monkeypatch, kind):
    """More threads would add in another order from one machine to the next, and compete with the engine's own."""
    network = Sequential(OwnWindows(2, 3), Flatten(), Dense(3), input_shape=(1, 6, 6))
    seen = []
    computed = getattr(OwnWindows, kind)

    def watched(self, *arguments):
        seen.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return computed(self, *arguments)

    monkeypatch.setattr(OwnWindows, kind, watched)
    x = RandomKey(1).normal("x", (2, 1, 6, 6)).astype(np.float32)
    before = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    Program(network, backend="native").train_step(network.initialize(), x, np.array([0, 2]))
    assert seen
    assert set(seen) == {1}
    after = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    assert after == before


@pytest.mark.parametrize("name", MODELS)
def test_no_named_network_needs_the_reference(name):
    assert not PlannedNetwork(build(name), 1).external
