"""Training on the native backend: the reference's losses and weights, and the same bits however the work is split."""

import hashlib
import multiprocessing
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tatami import layers, native
from tatami.errors import ShapeError
from tatami.layers import Layer
from tatami.losses import Loss, SoftmaxCrossEntropy, SquaredError
from tatami.models import build
from tatami.network import Network, Parameters, Sequential
from tatami.optimizers import SGD, AdaGrad, Adam, AdamW, Optimizer, RMSProp
from tatami.program import Program, TrainingSession
from tatami.program.native import SlowLayerWarning
from tatami.program.native_layers import ACTIVATIONS
from tatami.random import RandomKey

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

OPTIMIZERS = [
    SGD(0.05),
    SGD(0.05, weight_decay=0.01),
    SGD(0.05, momentum=0.9),
    SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    AdaGrad(0.05, weight_decay=0.01),
    RMSProp(0.01),
    Adam(0.01, weight_decay=0.01),
    AdamW(0.01, weight_decay=0.1),
]


def small_network() -> Network:
    """A little of everything that has a kernel of its own: fused pooling, Winograd, stride, depthwise, dropout."""
    return Sequential(
        layers.Convolution(16, 3, padding="same"),
        layers.ReLU(),
        layers.MaxPool(2),
        layers.Convolution(20, 3, padding="same"),
        layers.ReLU(),
        layers.Convolution(20, 3, stride=2, padding=1, groups=20),
        layers.Sigmoid(),
        layers.Convolution(17, 3),
        layers.ReLU(),
        layers.MaxPool(2),
        layers.Flatten(),
        layers.Dense(33),
        layers.ReLU(),
        layers.Dropout(0.3),
        layers.Dense(5),
        input_shape=(2, 15, 16),
    )


def batch_for(
    network: Network, examples: int, seed: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    key = RandomKey(seed)
    x = key.normal("x", (examples, *network.input_shape)).astype(np.float32)
    return x, (np.arange(examples) * 7 % network.output_shape[0]).astype(np.int64)


def sha256(parameters: Parameters) -> str:
    digest = hashlib.sha256()
    for layer in sorted(parameters):
        for name in sorted(parameters[layer]):
            digest.update(np.ascontiguousarray(parameters[layer][name]).tobytes())
    return digest.hexdigest()


def train(session: TrainingSession, network: Network, steps: int, examples: int = 23) -> list[float]:
    losses = []
    for step in range(steps):
        x, labels = batch_for(network, examples, seed=step)
        losses.append(session.step(x, labels, RandomKey(3, step=step), 0.05).loss)
    return losses


def trained_sha256(threads: int, batch: int = 23) -> str:
    network = small_network()
    program = Program(network, backend="native", threads=threads)
    session = program.session(network.initialize(seed=1), SGD(0.05, momentum=0.9), clip_norm=0.5)
    train(session, network, 4, batch)
    return sha256(session.parameters)


@pytest.mark.parametrize("isa", native.available() or ("none",))
def test_weights_are_the_same_bits_for_any_number_of_threads(
    isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TATAMI_ISA", isa)
    for batch in (1, 2, 23, 100):
        assert len({trained_sha256(threads, batch) for threads in (1, 2, 3, 4, 8)}) == 1


@pytest.mark.parametrize("isa", native.available() or ("none",))
def test_predictions_do_not_depend_on_how_images_are_grouped(
    isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TATAMI_ISA", isa)
    network = small_network()
    parameters = network.initialize(seed=1)
    x, _ = batch_for(network, 41)
    program = Program(network, backend="native", threads=2)
    whole = program.forward(parameters, x).output
    for size in (1, 2, 5, 14, 15, 29):
        pieces = [program.forward(parameters, x[at : at + size]).output for at in range(0, len(x), size)]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_a_predictor_keeps_the_parameters_it_was_made_with(backend: str) -> None:
    network = small_network()
    parameters = network.initialize(seed=1)
    x, _ = batch_for(network, 3)
    program = Program(network, backend=backend, threads=2)
    expected = program.forward(parameters, x).output
    predict = program.predictor(parameters)
    parameters["conv1"]["weight"][:] = 0
    np.testing.assert_array_equal(predict(x), expected)
    one_by_one = np.concatenate([predict(one[None]) for one in x])
    np.testing.assert_allclose(one_by_one, expected, rtol=1e-5, atol=1e-6)


def well_posed(optimizer: Optimizer) -> Optimizer:
    """Return a rule that divides by √h with an epsilon under which a gradient's rounding is no whole step."""
    return replace(optimizer, epsilon=1e-4) if hasattr(optimizer, "epsilon") else optimizer  # type: ignore[call-arg]


@pytest.mark.parametrize("optimizer", [well_posed(one) for one in OPTIMIZERS], ids=str)
@pytest.mark.parametrize("clip_norm", [None, 0.3])
def test_sessions_follow_the_reference(optimizer: Optimizer, clip_norm: float | None) -> None:
    network = small_network()
    parameters = network.initialize(seed=1)
    sessions = [
        Program(network, backend=backend).session(parameters, optimizer, clip_norm=clip_norm)
        for backend in ("reference", "native")
    ]
    expected, came = (train(session, network, 5) for session in sessions)
    np.testing.assert_allclose(came, expected, rtol=2e-4)
    for layer, named in sessions[0].parameters.items():
        for name, values in named.items():
            allowed = 1e-3 * max(1e-2, float(np.abs(values).max()))
            np.testing.assert_allclose(sessions[1].parameters[layer][name], values, rtol=0, atol=allowed)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_weights_that_move_while_gradients_are_computed_get_the_same_bits(optimizer: Optimizer) -> None:
    """A limit on the gradients' norm needs all of them first; one that is never reached must change nothing."""
    network = small_network()
    ends = []
    for clip_norm in (None, 1e30):
        session = Program(network, backend="native", threads=2).session(
            network.initialize(seed=3), optimizer, clip_norm=clip_norm
        )
        train(session, network, 3)
        ends.append((sha256(session.parameters), session.optimizer_state.count))
    assert ends[0] == ends[1]


def test_ten_losses_of_arai_equal_the_reference(mnist_like: tuple[Any, Any]) -> None:
    network = build("arai")
    parameters = network.initialize(seed=1)
    losses = []
    for backend in ("reference", "native"):
        session = Program(network, backend=backend).session(parameters, SGD(0.01, momentum=0.2))
        x, labels = mnist_like
        losses.append([session.step(x, labels, RandomKey(1, step=step), 0.01).loss for step in range(10)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


@pytest.fixture(params=("everywhere", "on an empty background"))
def mnist_like(request: pytest.FixtureRequest) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Noise, or strokes on nothing: there whole windows are equal, and a rounding would choose other winners."""
    x, labels = batch_for(build("arai"), 50)
    x = np.clip(x, 0, 1)
    if request.param != "everywhere":
        x[:, :, :9] = x[:, :, 20:] = x[:, :, :, :11] = x[:, :, :, 19:] = 0
    return x, labels % 10


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), SoftmaxCrossEntropy("sum"), SquaredError()], ids=str)
def test_losses(loss: Loss) -> None:
    network = small_network()
    parameters = network.initialize(seed=1)
    x, labels = batch_for(network, 9)
    expected = Program(network, loss=loss, backend="reference").train_step(parameters, x, labels)
    came = Program(network, loss=loss, backend="native").train_step(parameters, x, labels)
    assert came.loss == pytest.approx(expected.loss, rel=1e-5)
    np.testing.assert_allclose(
        came.gradients["dense2"]["weight"], expected.gradients["dense2"]["weight"], rtol=1e-3, atol=1e-5
    )


def test_a_session_goes_on_where_another_one_stopped() -> None:
    network = small_network()
    program = Program(network, backend="native")
    optimizer = Adam(0.01)
    whole = program.session(network.initialize(seed=1), optimizer)
    train(whole, network, 3)
    again = program.session(
        whole.parameters, optimizer, optimizer_state=whole.optimizer_state, state=whole.state
    )
    x, labels = batch_for(network, 12)
    for session in (whole, again):
        session.step(x, labels, RandomKey(9), 0.01)
    assert sha256(whole.parameters) == sha256(again.parameters)
    assert again.optimizer_state.count == 4


@pytest.mark.parametrize("position", ["first", "middle", "last"])
def test_a_layer_without_kernel_runs_on_the_reference_and_says_so_once(
    position: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tatami.program.native._warned", set())
    monkeypatch.delitem(ACTIVATIONS, layers.Tanh)
    stack: list[Layer] = [
        layers.Convolution(6, 3, padding="same"),
        layers.ReLU(),
        layers.MaxPool(2),
        layers.Flatten(),
        layers.Dense(4),
    ]
    where = {"first": 0, "middle": 3, "last": 5}[position]
    network = Sequential(*stack[:where], layers.Tanh(), *stack[where:], input_shape=(1, 8, 8))
    parameters = network.initialize(seed=1)
    x, labels = batch_for(network, 6)
    Program(network, backend="native")  # too little work to speak of: a warning would be an error
    with monkeypatch.context() as patch:
        patch.setattr("tatami.program.native.MUCH_WORK", 8)
        with pytest.warns(SlowLayerWarning, match="Tanh has no native kernel"):
            Program(network, backend="native")
        program = Program(network, backend="native")  # it was said once
    expected = Program(network, backend="reference").train_step(parameters, x, labels, keep=True)
    for keep in (True, False):
        came = program.train_step(parameters, x, labels, keep=keep)
        assert came.loss == pytest.approx(expected.loss, rel=1e-5)
        for layer, named in expected.gradients.items():
            for name, gradient in named.items():
                np.testing.assert_allclose(came.gradients[layer][name], gradient, rtol=1e-3, atol=1e-5)
    sessions = [
        Program(network, backend=b).session(parameters, SGD(0.1, momentum=0.5))
        for b in ("reference", "native")
    ]
    for session in sessions:
        for step in range(3):
            session.step(x, labels, RandomKey(1, step=step), 0.1)
    np.testing.assert_allclose(
        sessions[1].parameters["conv1"]["weight"],
        sessions[0].parameters["conv1"]["weight"],
        rtol=1e-3,
        atol=1e-5,
    )


def normalised_network(affine: bool = True) -> Network:
    return Network(
        {
            "conv1": layers.Convolution(17, 3, padding="same", bias=False),
            "norm1": layers.BatchNormalization(affine=affine),
            "relu1": layers.ReLU(),
            "conv2": layers.Convolution(17, 3, padding="same", bias=False),  # the mean would take a bias away
            "norm2": layers.BatchNormalization(momentum=0.3, epsilon=1e-3, affine=affine),
            "add1": (layers.Add(), ("norm2", "relu1")),
            "pool1": layers.GlobalAveragePool(),
            "norm3": layers.BatchNormalization(),
            "dense1": layers.Dense(5),
        },
        input_shape=(2, 5, 6),
    )


@pytest.mark.parametrize("isa", native.available() or ("none",))
@pytest.mark.parametrize("affine", [True, False])
def test_batch_normalisation(isa: str, affine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TATAMI_ISA", isa)
    network = normalised_network(affine)
    parameters = network.initialize(seed=1)
    x, labels = batch_for(network, 7)
    reference, native_one = (Program(network, backend=backend) for backend in ("reference", "native"))
    expected = reference.train_step(parameters, x, labels, keep=True)
    for keep in (True, False):
        came = native_one.train_step(parameters, x, labels, keep=keep)
        assert came.loss == pytest.approx(expected.loss, rel=1e-5)
        # Against the largest gradient of all: a shift in front of a normalisation has the gradient 0.
        largest = max(float(np.abs(g).max()) for named in expected.gradients.values() for g in named.values())
        for layer, named in expected.gradients.items():
            for name, gradient in named.items():
                np.testing.assert_allclose(came.gradients[layer][name], gradient, rtol=0, atol=2e-5 * largest)
        for layer, named in expected.state.items():
            for name, values in named.items():
                np.testing.assert_allclose(came.state[layer][name], values, rtol=1e-4, atol=1e-6)
        if keep:
            for name, values in expected.values.items():
                np.testing.assert_allclose(came.values[name], values, rtol=1e-3, atol=2e-5)
    state = expected.state
    output = reference.forward(parameters, x, state=state).output
    np.testing.assert_allclose(
        native_one.forward(parameters, x, state=state).output, output, rtol=1e-3, atol=1e-5
    )
    np.testing.assert_allclose(
        native_one.predictor(parameters, state)(x[:1]), output[:1], rtol=1e-3, atol=1e-5
    )
    kept = native_one.forward(parameters, x, state=state, keep=True)
    np.testing.assert_allclose(kept.output, output, rtol=1e-3, atol=1e-5)


def test_batch_normalisation_in_sessions() -> None:
    network = normalised_network()
    parameters = network.initialize(seed=1)
    sessions = [
        Program(network, backend=backend, threads=threads).session(parameters, SGD(0.05, momentum=0.5))
        for backend, threads in (("reference", None), ("native", 1), ("native", 3))
    ]
    losses = [train(session, network, 4) for session in sessions]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert sha256(sessions[1].parameters) == sha256(sessions[2].parameters)
    assert sha256(sessions[1].state) == sha256(sessions[2].state)
    for layer, named in sessions[0].state.items():
        for name, values in named.items():
            np.testing.assert_allclose(sessions[1].state[layer][name], values, rtol=1e-3, atol=1e-5)


def test_predictions_follow_the_running_statistics() -> None:
    network = normalised_network()
    parameters = network.initialize(seed=1)
    x, labels = batch_for(network, 7)
    program = Program(network, backend="native")
    before = program.forward(parameters, x).output
    state = program.train_step(parameters, x, labels).state
    expected = Program(network, backend="reference").forward(parameters, x, state=state).output
    after = program.forward(parameters, x, state=state).output
    assert not np.allclose(before, after)
    np.testing.assert_allclose(after, expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(program.forward(parameters, x).output, before)


def test_batch_normalisation_of_a_single_value_is_refused() -> None:
    network = Sequential(layers.BatchNormalization(), layers.Dense(2), input_shape=(3,))
    program = Program(network, backend="native")
    with pytest.raises(ShapeError, match="at least two values"):
        program.train_step(network.initialize(seed=1), np.ones((1, 3)), np.zeros(1, np.int64))


def test_two_threads_predict_at_once() -> None:
    network = small_network()
    parameters = network.initialize(seed=1)
    program = Program(network, backend="native", threads=2)
    batches = [batch_for(network, 10, seed)[0] for seed in range(2)]
    expected = [program.forward(parameters, x).output for x in batches]
    wrong: list[int] = []

    def predict(number: int) -> None:
        for _ in range(50):
            if not np.array_equal(program.forward(parameters, batches[number]).output, expected[number]):
                wrong.append(number)

    workers = [threading.Thread(target=predict, args=(number,)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def child(queue: Any) -> None:
    queue.put(trained_sha256(2))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_computes_the_same_bits() -> None:
    expected = trained_sha256(2)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    assert queue.get(timeout=60) == expected
    process.join(60)
    assert process.exitcode == 0


def test_threads_of_openmp_and_threadpoolctl_are_obeyed() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with threadpoolctl.threadpool_limits(1, user_api="openmp"):
        assert native.kernels().default_threads() == 1


@pytest.mark.parametrize("optimizer", [SGD(0.1, weight_decay=0.01), Adam(0.01)])
def test_layers_of_two_nodes_train_like_the_reference_and_can_be_resumed(optimizer: Optimizer) -> None:
    network = Sequential(
        layers.SeparableConvolution(5, 3, padding="same", multiplier=2),
        layers.ReLU(),
        layers.MaxPool(2),
        layers.TransposedConvolution(4, 4, stride=2, padding=1),
        layers.Tanh(),
        layers.Flatten(),
        layers.Dense(4),
        input_shape=(3, 8, 8),
    )
    parameters = network.initialize(seed=1)
    x, labels = batch_for(network, 6)
    sessions = [
        Program(network, backend=backend).session(parameters, optimizer)
        for backend in ("reference", "native")
    ]
    assert type(sessions[1]).__name__ == "NativeSession"
    for step in range(4):
        if step == 2:
            stopped = sessions[1]
            sessions[1] = Program(network, backend="native").session(
                stopped.parameters, optimizer, optimizer_state=stopped.optimizer_state
            )
        for session in sessions:
            session.step(x, labels, RandomKey(1, step=step), optimizer.learning_rate)
    for layer, named in sessions[0].parameters.items():
        for name, array in named.items():
            np.testing.assert_allclose(sessions[1].parameters[layer][name], array, rtol=1e-3, atol=1e-4)
    for slot, arrays in sessions[0].optimizer_state.slots.items():
        for layer, named in arrays.items():
            for name, array in named.items():
                came = sessions[1].optimizer_state.slots[slot][layer][name]
                np.testing.assert_allclose(came, array, rtol=1e-3, atol=1e-4)
    where = Program(network, backend="native").where_layers_run()
    assert where["transposed_conv1"]["training"].endswith(", then phases side by side")
    assert not any("reference" in text for place in where.values() for text in place.values())
