"""The program: everything kept can be read and is right, inputs are checked, and the ways to compute agree."""

import re

import numpy as np
import pytest

from tatami import (
    SGD,
    Adam,
    Add,
    AveragePool,
    BatchNormalization,
    Concatenate,
    Convolution,
    DataError,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    Network,
    Program,
    RandomKey,
    ReLU,
    Sequential,
    SettingError,
    ShapeError,
    Sigmoid,
    SoftmaxCrossEntropy,
    SquaredError,
    TatamiError,
    UnknownNameError,
    build,
    clip_gradients,
    native,
)
from tatami.backends import ReferenceBackend
from tatami.layers import Context
from tatami.models import MODELS
from tatami.program import Kept, Step, backend_to_use, first_not_finite
from tatami.program.layerwise import LayerwiseExecutor

KEY = RandomKey(3, epoch=1, step=2)


def graph():
    """Return a network with a fork, a join, a doubled input and dropout."""
    return Network(
        {
            "conv1": Convolution(3, 3, padding="same"),
            "sigmoid1": Sigmoid(),
            "conv2": Convolution(3, 3, padding="same"),
            "sum": (Add(), ("conv2", "sigmoid1", "sigmoid1")),
            "pool": AveragePool(2),
            "wide": (Concatenate(), ("pool", "pool")),
            "flatten": Flatten(),
            "drop": Dropout(0.3),
            "dense": Dense(4),
        },
        (2, 4, 4),
    )


def batch(network, examples=5, seed=1):
    x = RandomKey(seed).normal("x", (examples, *network.input_shape))
    return x, np.arange(examples) % network.output_shape[0]


@pytest.fixture
def program():
    return Program(graph(), precision="f64")


@pytest.fixture
def parameters(program):
    return program.network.initialize(seed=2, dtype="float64")


# ---- keep=True ---------------------------------------------------------------------------------------------


def test_everything_kept_has_its_name_and_shape(program, parameters):
    network = program.network
    x, labels = batch(network)
    step = program.train_step(parameters, x, labels, key=KEY, keep=True)
    expected = {name: (len(x), *shape) for name, shape in network.shapes.items()}
    assert {name: array.shape for name, array in step.values.items()} == expected
    assert {name: array.shape for name, array in step.value_gradients.items()} == expected
    assert list(step.values) == ["input", *(node.name for node in network.nodes)]
    assert {layer: set(named) for layer, named in step.gradients.items()} == {
        layer: set(named) for layer, named in parameters.items()
    }
    np.testing.assert_array_equal(step.values["input"], x)
    np.testing.assert_array_equal(step.values["dense"], step.output)


@pytest.mark.parametrize("name", ["input", *(node.name for node in graph().nodes)])
def test_the_gradient_of_every_intermediate_by_finite_differences(program, parameters, name):
    """Nudge one value in the middle of the network and run on from there: the loss moves by the kept gradient."""
    network = program.network
    x, labels = batch(network)
    step = program.train_step(parameters, x, labels, key=KEY, keep=True)
    loss = SoftmaxCrossEntropy()

    def loss_from(values):
        """Run the layers behind ``name`` with the value of ``name`` given."""
        known = dict(step.values) | values
        fresh = set(values)
        for node in network.nodes:
            if node.name not in fresh and fresh.intersection(node.inputs):
                executor = program.executor
                known[node.name] = executor.run_layer(node, known, parameters, Context(True, KEY)).output
                fresh.add(node.name)
        return loss.value(program.executor.ops, known["dense"], labels)

    value = step.values[name]
    for position in RandomKey(5).permutation(name, value.size)[:5]:
        index = np.unravel_index(position, value.shape)
        nudged = []
        for direction in (1e-5, -1e-5):
            changed = value.copy()
            changed[index] += direction
            nudged.append(loss_from({name: changed}))
        difference = (nudged[0] - nudged[1]) / 2e-5
        assert step.value_gradients[name][index] == pytest.approx(difference, rel=1e-6, abs=1e-9)


def test_keeping_changes_no_number(program, parameters):
    x, labels = batch(program.network)
    kept = program.train_step(parameters, x, labels, key=KEY, keep=True)
    plain = program.train_step(parameters, x, labels, key=KEY)
    assert plain.loss == kept.loss
    np.testing.assert_array_equal(plain.output, kept.output)
    for layer, named in plain.gradients.items():
        for name, gradient in named.items():
            np.testing.assert_array_equal(gradient, kept.gradients[layer][name])


def test_forward_with_and_without_keep(program, parameters):
    x, _ = batch(program.network)
    kept = program.forward(parameters, x, keep=True)
    np.testing.assert_array_equal(program.forward(parameters, x).output, kept.output)
    np.testing.assert_array_equal(kept.values["drop"], kept.values["flatten"])  # nothing drops at prediction
    training = program.forward(parameters, x, training=True, key=KEY, keep=True)
    assert 0.1 < (training.values["drop"] == 0).mean() < 0.5
    step = program.train_step(parameters, x, batch(program.network)[1], key=KEY)
    np.testing.assert_array_equal(training.output, step.output)


def test_what_was_not_kept_says_so(program, parameters):
    x, labels = batch(program.network)
    step = program.train_step(parameters, x, labels)
    with pytest.raises(UnknownNameError, match="'conv1' was not kept; run the program with keep=True"):
        step.values["conv1"]
    kept = program.train_step(parameters, x, labels, keep=True).values
    with pytest.raises(UnknownNameError, match="unknown layer 'cnv1': did you mean 'conv1'"):
        kept["cnv1"]
    assert "conv1" in kept
    assert "cnv1" not in kept
    assert "conv1" not in step.values
    assert kept.get("cnv1") is None
    assert len(Kept({}, kept=False)) == 0


# ---- inputs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "x", "remedy"),
    [
        ((1, 8, 8), (8, 8), r"got \(8, 8\); add the batch and channel axes: x\[None, None\]"),
        ((1, 8, 8), (5, 8, 8), r"got \(5, 8, 8\); add the channel axis: x\[:, None\]"),
        ((3, 8, 6), (3, 8, 6), r"got \(3, 8, 6\); one example alone needs a batch axis: x\[None\]"),
        ((3, 8, 6), (5, 8, 6, 3), r"; channels come first: numpy.moveaxis\(x, -1, 1\)"),
        ((1, 8, 8), (5, 64), r"; the number of values fits: x.reshape\(-1, 1, 8, 8\)"),
        ((1, 8, 8), (5, 1, 28, 28), "; resize the data or build the network for that input shape"),
        ((1, 8, 8), (), r"got \(\)"),
        ((4,), (4,), r"got \(4,\); one example alone needs a batch axis: x\[None\]"),
    ],
)
def test_a_wrong_input_shape_names_layer_expectation_and_remedy(shape, x, remedy):
    network = Sequential(*([Flatten()] if len(shape) > 1 else []), Dense(2), input_shape=shape, name="net")
    first = network.nodes[0].name
    sizes = ", ".join(map(str, shape))
    message = rf"net: expected a batch of shape \('N', {sizes}\) at layer '{first}', .*{remedy}"
    with pytest.raises(ShapeError, match=message):
        Program(network).forward(network.initialize(), np.zeros(x))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, t: (x[:0], t[:0]), DataError, "the batch is empty"),
        (lambda x, t: (x[:3], t), ShapeError, "3 examples came with 5 targets"),
        (lambda x, t: (x.astype(str), t), DataError, "expected an array of numbers, got dtype <U"),
        (
            lambda x, t: (x.astype(complex), t),
            DataError,
            "expected an array of numbers, got dtype complex128",
        ),
        (
            lambda x, t: (x, t + 2),
            DataError,
            "label out of range: example 2 has label 4, the network has 4 outputs",
        ),
        (lambda x, t: (x, t / 2), DataError, "class labels must be whole numbers"),
    ],
)
def test_wrong_batches(program, parameters, change, error, message):
    x, labels = change(*batch(program.network))
    with pytest.raises(error, match=message):
        program.train_step(parameters, x, labels)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"backend": "refrence"}, UnknownNameError, "unknown backend 'refrence': did you mean 'reference'"),
        (
            {"backend": "reference", "precision": "f46"},
            UnknownNameError,
            "precision of the reference backend 'f46': did you mean 'f64'",
        ),
        ({"precision": "f46"}, UnknownNameError, "unknown precision 'f46': did you mean 'f64'"),
        ({"threads": 0}, SettingError, "threads must be a whole number of at least 1, got 0"),
        ({"threads": "2"}, SettingError, "threads must be a whole number of at least 1, got '2'"),
    ],
)
def test_wrong_program_settings(settings, error, message):
    with pytest.raises(error, match=message):
        Program(graph(), **settings)


def test_the_default_is_native_where_it_is_built_and_has_the_precision(monkeypatch):
    fastest = "native" if native.is_built() else "reference"
    assert Program(graph()).backend == backend_to_use() == fastest
    assert Program(graph(), precision="f64").backend == "reference"
    assert Program(graph(), backend="reference").backend == "reference"
    assert backend_to_use(precision="bf16") == "native"
    monkeypatch.setattr(native, "_kernels", None)
    assert Program(graph()).backend == backend_to_use() == "reference"
    assert backend_to_use("native") == "native"  # what was asked for by name is not replaced in silence
    for settings in ({"backend": "native"}, {"precision": "bf16"}):
        with pytest.raises(SettingError, match="native backend is not built into this installation"):
            Program(graph(), **settings)


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.int64, np.float16, np.float32])
def test_any_number_type_is_taken(dtype):
    network = Sequential(Flatten(), Dense(3), input_shape=(1, 2, 2))
    x = np.array([[[[0, 1], [1, 0]]]]).astype(dtype)
    output = Program(network).forward(network.initialize(), x).output
    assert output.dtype == np.float32
    np.testing.assert_array_equal(
        output, Program(network).forward(network.initialize(), x.astype(float)).output
    )


# ---- agreement ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 255, 256, 257, 600])
def test_predicting_in_batches_is_predicting_at_once(count):
    network = Sequential(Convolution(2, 3), ReLU(), Flatten(), Dropout(0.5), Dense(3), input_shape=(1, 4, 4))
    program, parameters = Program(network), network.initialize()
    x = RandomKey(1).normal("x", (count, 1, 4, 4)).astype(np.float32)
    probabilities = program.predict(parameters, x)
    assert probabilities.shape == (count, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    logits = program.forward(parameters, x).output
    at_once = SoftmaxCrossEntropy().predict(program.executor.ops, logits)
    np.testing.assert_allclose(probabilities, at_once, rtol=1e-5, atol=1e-7)


def test_predicting_with_squared_error_gives_the_outputs():
    network = build("ox")
    program = Program(network, SquaredError())
    x = np.ones((2, 1, 3, 3))
    np.testing.assert_array_equal(
        program.predict(network.initialize(), x), program.forward(network.initialize(), x).output
    )


def test_a_session_is_train_step_clipping_and_the_optimizer_by_hand(program, parameters):
    optimizer = Adam(0.01)
    session = program.session(parameters, optimizer, clip_norm=0.3)
    by_hand, state = parameters, optimizer.initialize(parameters)
    for number in range(5):
        x, labels = batch(program.network, seed=number)
        key, rate = RandomKey(7, step=number), 0.01 / (number + 1)
        result = session.step(x, labels, key, rate)
        step = program.train_step(by_hand, x, labels, key=key)
        by_hand, state = optimizer.update(by_hand, clip_gradients(step.gradients, 0.3), state, rate)
        assert result.loss == step.loss
        np.testing.assert_array_equal(result.output, step.output)
    for layer, named in by_hand.items():
        for name, w in named.items():
            np.testing.assert_array_equal(session.parameters[layer][name], w)
    assert session.optimizer_state.count == 5


def test_a_session_goes_on_from_another(program, parameters):
    optimizer = SGD(0.1, momentum=0.9)
    x, labels = batch(program.network)

    def run(session, steps):
        for number in steps:
            session.step(x, labels, RandomKey(1, step=number), 0.1)
        return session

    through = run(program.session(parameters, optimizer), range(4))
    half = run(program.session(parameters, optimizer), range(2))
    resumed = program.session(
        half.parameters, optimizer, optimizer_state=half.optimizer_state, state=half.state
    )
    run(resumed, range(2, 4))
    for layer, named in through.parameters.items():
        for name, w in named.items():
            np.testing.assert_array_equal(resumed.parameters[layer][name], w)


def test_a_session_leaves_what_it_was_given_alone(program, parameters):
    before = {layer: {name: w.copy() for name, w in named.items()} for layer, named in parameters.items()}
    session = program.session(parameters, SGD(0.5))
    session.step(*batch(program.network), KEY, 0.5)
    for layer, named in before.items():
        for name, w in named.items():
            np.testing.assert_array_equal(parameters[layer][name], w)
            assert not np.array_equal(session.parameters[layer][name], w)


@pytest.mark.parametrize(("precision", "dtype"), [("f32", np.float32), ("f64", np.float64)])
def test_a_session_computes_in_the_programs_precision(precision, dtype):
    network = graph()
    session = Program(network, precision=precision).session(network.initialize(), SGD(0.1))
    session.step(*batch(network), KEY, 0.1)
    assert {w.dtype for named in session.parameters.values() for w in named.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize("name", MODELS)
def test_float32_is_close_to_float64(name):
    network, loss = build(name), MODELS[name].loss
    parameters = network.initialize(seed=1)
    x, labels = batch(network, examples=4)
    steps = [
        Program(network, loss, precision=precision).train_step(parameters, x, labels, key=KEY)
        for precision in ("f32", "f64")
    ]
    assert steps[0].loss == pytest.approx(steps[1].loss, rel=1e-5)
    for layer, named in steps[1].gradients.items():
        for parameter, gradient in named.items():
            single = steps[0].gradients[layer][parameter]
            assert single.dtype == np.float32
            # 24 bits, and sums of up to 3136 terms.
            assert np.abs(single - gradient).max() <= 2e-5 * np.abs(gradient).max()


def test_the_direct_form_trains_alike():
    network = graph()
    parameters = network.initialize(dtype="float64")
    x, labels = batch(network)
    steps = [
        LayerwiseExecutor(network, SoftmaxCrossEntropy(), ReferenceBackend(form), "float64").train_step(
            parameters, x, labels, KEY, {}, keep=False
        )
        for form in ("direct", "im2col")
    ]
    assert steps[0].loss == pytest.approx(steps[1].loss, rel=1e-13)
    for layer, named in steps[0].gradients.items():
        for name, gradient in named.items():
            np.testing.assert_allclose(gradient, steps[1].gradients[layer][name], rtol=1e-10, atol=1e-13)


def test_masks_depend_on_the_key_only(program, parameters):
    x, labels = batch(program.network)

    def loss(**key):
        return program.train_step(parameters, x, labels, key=RandomKey(**key)).loss

    losses = [loss(seed=s, epoch=e, step=i) for s, e, i in ((1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1))]
    assert len(set(losses)) == 4
    assert loss(seed=1) == losses[0]


def test_layer_state_is_carried_by_the_session():
    network = Sequential(
        Convolution(2, 3), BatchNormalization(), ReLU(), Flatten(), Dense(3), input_shape=(1, 4, 4)
    )
    program = Program(network, precision="f64")
    session = program.session(network.initialize(dtype="float64"), SGD(0.1))
    before = program.initial_state()
    x, labels = batch(network)
    session.step(x, labels, KEY, 0.1)
    (layer,) = before
    assert set(session.state) == {layer}
    for name, array in before[layer].items():
        assert session.state[layer][name].shape == array.shape
        assert not np.array_equal(session.state[layer][name], array)
    with_state = program.predict(session.parameters, x, state=session.state)
    assert not np.allclose(with_state, program.predict(session.parameters, x))


# ---- NaN and infinity --------------------------------------------------------------------------------------


def broken_step(place, value=np.nan):
    network = Sequential(
        Convolution(2, 3), ReLU(), MaxPool(2), Flatten(), Dense(3), Dense(3), input_shape=(1, 6, 6)
    )
    parameters = network.initialize(dtype="float64")
    x, labels = batch(network)
    if place == "input":
        x[1, 0, 2, 3] = value
    else:
        layer, name = place.split(".")
        parameters[layer][name].flat[0] = value
    with np.errstate(all="ignore"):
        return Program(network, precision="f64").train_step(parameters, x, labels, keep=True)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("input", r"the network's input \(index \[1, 0, 2, 3\] is nan\)"),
        ("conv1.weight", r"the output of layer 'conv1' \(index \[0, 0, 0, 0\] is nan\)"),
        ("dense1.bias", r"the output of layer 'dense1' \(index \[0, 0\] is nan\)"),
        ("dense2.weight", r"the output of layer 'dense2' \(index \[0, 0\] is nan\)"),
    ],
)
def test_the_first_place_that_is_not_finite_is_named(place, message):
    assert re.fullmatch(message, first_not_finite(broken_step(place)))


def test_infinity_is_found_too():
    assert (
        first_not_finite(broken_step("dense1.bias", -np.inf))
        == "the output of layer 'dense1' (index [0, 0] is -inf)"
    )


def test_a_finite_step_has_no_such_place(program, parameters):
    assert first_not_finite(program.train_step(parameters, *batch(program.network), keep=True)) is None


def test_a_loss_or_gradient_alone_is_named():
    values = {"input": np.zeros((1, 2)), "dense1": np.zeros((1, 2))}
    fine = {name: np.zeros((1, 2)) for name in values}
    assert (
        first_not_finite(Step(np.inf, values["dense1"], {}, values=values, value_gradients=fine))
        == "the loss (inf)"
    )
    gradients = {"dense1": {"weight": np.array([[1.0, np.inf]])}}
    step = Step(1.0, values["dense1"], gradients, values=values, value_gradients=fine)
    assert first_not_finite(step) == "the gradient of dense1.weight (index [0, 1] is inf)"
    step = Step(
        1.0, values["dense1"], {}, values=values, value_gradients=fine | {"input": np.array([[np.nan, 0]])}
    )
    assert first_not_finite(step) == "the gradient of the network's input (index [0, 0] is nan)"
    not_kept = Step(1.0, values["dense1"], gradients)
    assert first_not_finite(not_kept) == "the gradient of dense1.weight (index [0, 1] is inf)"


def test_every_error_of_the_program_is_one_of_ours(program, parameters):
    for wrong in ({}, {"conv1": {}}, {**parameters, "x": {}}):
        with pytest.raises(TatamiError):
            program.train_step(wrong, *batch(program.network))
