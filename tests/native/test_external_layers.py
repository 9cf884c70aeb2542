"""Layers without a kernel inside a native program: the reference computes them as it does alone, on one thread."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from tatami import Dense, Flatten, Program, RandomKey, Sequential
from tatami.layers import LocallyConnected

pytest.importorskip("tatami.native._kernels")


@pytest.mark.filterwarnings("ignore::tatami.program.native.SlowLayerWarning")
@pytest.mark.parametrize("kind", ["forward", "backward"])
def test_matrix_products_of_external_layers_run_on_one_thread(monkeypatch, kind):
    """More threads would add in another order from one machine to the next, and compete with the engine's own."""
    network = Sequential(LocallyConnected(2, 3), Flatten(), Dense(3), input_shape=(1, 6, 6))
    seen = []
    computed = getattr(LocallyConnected, kind)

    def watched(self, *arguments):
        seen.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return computed(self, *arguments)

    monkeypatch.setattr(LocallyConnected, kind, watched)
    x = RandomKey(1).normal("x", (2, 1, 6, 6)).astype(np.float32)
    before = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    Program(network, backend="native").train_step(network.initialize(), x, np.array([0, 2]))
    assert seen
    assert set(seen) == {1}
    after = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    assert after == before
