"""Networks of dense layers read their input where the caller has it, not a number beyond it, and do not remember it."""

import ctypes
import mmap
import sys

import numpy as np
import pytest

from tatami import layers, native
from tatami.network import Network, Sequential
from tatami.optimizers import SGD
from tatami.program import Program
from tatami.program.native import PlannedNetwork
from tatami.random import RandomKey

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

KEY = RandomKey(seed=8)


def dense_alone(features: int = 13) -> Network:
    return Sequential(
        layers.Dense(35),
        layers.ReLU(),
        layers.Dense(33),
        layers.ReLU(),
        layers.Dense(10),
        input_shape=(features,),
    )


def trained(network, x, labels):
    """Return the losses of three steps and the bits of what the network then says."""
    program = Program(network, backend="native", threads=2)
    session = program.session(network.initialize(seed=3), SGD(0.1, momentum=0.5))
    losses = [session.step(x, labels, KEY, 0.1).loss for _ in range(3)]
    reference = Program(network, backend="reference").train_step(network.initialize(seed=3), x, labels)
    np.testing.assert_allclose(losses[0], reference.loss, rtol=1e-5)
    return losses, program.forward(session.parameters, x).output.tobytes()


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages as Linux does")
@pytest.mark.parametrize("features", [1, 13, 16, 49])
@pytest.mark.parametrize("batch", [1, 27, 30])
def test_dense_layers_read_a_batch_where_it_lies(features, batch):
    """At the end of a page that may not be read beyond, and never written to."""
    network = dense_alone(features)
    page = mmap.PAGESIZE
    count = batch * features
    pages = -(-4 * count // page)
    memory = mmap.mmap(-1, (pages + 1) * page)
    guarded = np.frombuffer(memory, np.float32)
    libc = ctypes.CDLL(None)
    start = guarded.ctypes.data
    assert libc.mprotect(ctypes.c_void_p(start + pages * page), page, 0) == 0
    x = guarded[: pages * page // 4][-count:].reshape(batch, features)
    x[...] = KEY.normal("x", x.shape)
    assert libc.mprotect(ctypes.c_void_p(start), pages * page, mmap.PROT_READ) == 0
    labels = np.arange(batch) % 10
    held, copied = (trained(network, batch_read, labels) for batch_read in (x, x.copy()))
    assert libc.mprotect(ctypes.c_void_p(start), (pages + 1) * page, mmap.PROT_READ | mmap.PROT_WRITE) == 0
    assert held == copied


def test_a_batch_that_was_read_in_place_cannot_be_asked_for_afterwards():
    planned = PlannedNetwork(dense_alone(), 1)
    planned.write(0, dense_alone().initialize(seed=1))
    x = np.ones((4, 13), np.float32)
    output = np.empty((4, 10), np.float32)
    planned.engine.train_step(x, np.zeros(4, np.int64), None, 0.25, 1, 0, 0, 0.1, True, output)
    held = np.empty((4, 13), np.float32)
    for call in (
        lambda: planned.engine.read_value(0, held),
        lambda: planned.engine.write_value(0, held),
        lambda: planned.engine.run_backward(0, 3),
        lambda: planned.engine.run_forward(1, 3),
    ):
        with pytest.raises(ValueError, match="not kept|nothing was started"):
            call()
    planned.engine.start(1, x)
    planned.engine.read_value(0, held)
    np.testing.assert_array_equal(held, x)
