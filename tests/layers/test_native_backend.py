"""Every layer on the native backend: its own kernels or the reference's, the numbers must be those of the reference."""

import numpy as np
import pytest
from tests.mathematics.layer_examples import EXAMPLES
from tests.mathematics.test_every_layer import network_of

from tatami import Program, RandomKey, SquaredError
from tatami.native import is_built
from tatami.network import INPUT

CASES = [
    pytest.param(layer, shapes, id=f"{cls.__name__}-{number}")
    for cls, examples in EXAMPLES.items()
    for number, (layer, shapes) in enumerate(examples)
]


@pytest.mark.skipif(not is_built(), reason="the kernels are not built")
@pytest.mark.filterwarnings("ignore::tatami.program.native.SlowLayerWarning")
@pytest.mark.parametrize(("layer", "shapes"), CASES)
def test_training_and_prediction_agree_with_the_reference(layer, shapes):
    network = network_of(layer, shapes)
    reader = next(node.layer for node in network.nodes if INPUT in node.inputs)
    x = reader.draw_input(RandomKey(3), "x", (4, *network.input_shape)).astype(np.float32)
    target = RandomKey(4).normal("target", (4, *network.output_shape))
    parameters = network.initialize(1)
    reference, native = (
        Program(network, SquaredError(), backend=backend) for backend in ("reference", "native")
    )
    wanted, step = (
        program.train_step(parameters, x, target, key=RandomKey(2), keep=True)
        for program in (reference, native)
    )
    assert step.loss == pytest.approx(wanted.loss, rel=1e-4)
    close = {"rtol": 1e-3, "atol": 1e-4}
    np.testing.assert_allclose(step.value_gradients[INPUT], wanted.value_gradients[INPUT], **close)
    for kind in ("gradients", "state"):
        ours, theirs = getattr(step, kind), getattr(wanted, kind)
        assert {name: set(named) for name, named in ours.items()} == {
            name: set(named) for name, named in theirs.items()
        }
        for name, named in theirs.items():
            for parameter, values in named.items():
                np.testing.assert_allclose(ours[name][parameter], values, **close)
    np.testing.assert_allclose(native.predict(parameters, x), reference.predict(parameters, x), **close)
