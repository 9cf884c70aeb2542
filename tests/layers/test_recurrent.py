"""Recurrent layers: values and back-propagation through time against PyTorch, masks, directions, truncation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from tests.layers.agreement import OPS, check, compare_with_torch, draw, run

from tatami import (
    GRU,
    LSTM,
    RNN,
    SGD,
    Dense,
    Multiply,
    Network,
    Permute,
    Program,
    RandomKey,
    Reshape,
    Sequential,
    check_gradients,
)
from tatami.errors import SettingError, ShapeError
from tatami.layers.cells import GateBias

CELLS = {RNN: torch.nn.RNN, LSTM: torch.nn.LSTM, GRU: torch.nn.GRU}
cells = st.sampled_from([RNN, LSTM, GRU])
directions = st.sampled_from(["forward", "reverse", "both"])
outputs = st.sampled_from(["last", "all"])


def torch_walk(layer, x, parameters, prefix, lengths=None):
    """Run PyTorch's layer in one direction over (N, features, time) and return (N, time, units) and the last state."""
    cell = type(layer)
    settings = {"nonlinearity": layer.activation} if cell is RNN else {}
    features = x.shape[1]
    module = CELLS[cell](features, layer.units, batch_first=True, **settings).double()
    zero = torch.zeros_like(parameters[f"{prefix}bias"])
    second = zero
    if cell is GRU:
        second = torch.cat([zero[: 2 * layer.units], parameters[f"{prefix}state_bias"]])
    weights = {
        "weight_ih_l0": parameters[f"{prefix}input_weight"],
        "weight_hh_l0": parameters[f"{prefix}state_weight"],
        "bias_ih_l0": parameters[f"{prefix}bias"],
        "bias_hh_l0": second,
    }
    sequence = x.permute(0, 2, 1)
    if lengths is None:
        output, state = torch.func.functional_call(module, weights, (sequence,))
    else:
        packed = torch.nn.utils.rnn.pack_padded_sequence(sequence, lengths, True, enforce_sorted=False)
        packed, state = torch.func.functional_call(module, weights, (packed,))
        output, _ = torch.nn.utils.rnn.pad_packed_sequence(packed, True, total_length=x.shape[2])
    state = state[0] if cell is LSTM else state
    return output, state[0]


def torch_layer(layer):
    def function(x, **parameters):
        results = []
        for prefix, backwards in layer.walks():
            output, last = torch_walk(layer, x.flip(2) if backwards else x, parameters, prefix)
            output = output.flip(1) if backwards else output
            results.append(last if layer.outputs == "last" else output.permute(0, 2, 1))
        return torch.cat(results, dim=1)

    return function


@given(cell=cells, direction=directions, which=outputs, time=st.integers(1, 4), features=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_back_propagation_through_time(cell, direction, which, time, features):
    layer = cell(2, which, direction)
    check(layer, (features, time), sample=6)
    compare_with_torch(layer, [(features, time)], torch_layer(layer))


def test_relu_units():
    layer = RNN(3, "all", activation="relu")
    check(layer, (2, 4), sample=10)
    compare_with_torch(layer, [(2, 4)], torch_layer(layer))


@given(cell=cells, which=outputs, lengths=st.lists(st.integers(1, 5), min_size=3, max_size=3))
@settings(max_examples=12, deadline=None)
def test_a_mask_ends_sequences_early_as_packed_sequences_do(cell, which, lengths):
    layer = cell(2, which)
    (x,), parameters = draw(layer, [(3, 5)])
    mask = (np.arange(5) < np.array(lengths)[:, None]).astype(float)
    forward = run(layer, [x, mask], parameters)
    upstream = RandomKey(2).normal("upstream", forward.output.shape)
    backward = layer.backward(OPS, upstream, forward.saved, parameters)
    tensor = torch.tensor(x, requires_grad=True)
    named = {name: torch.tensor(values, requires_grad=True) for name, values in parameters.items()}
    output, last = torch_walk(layer, tensor, named, "", torch.tensor(lengths))
    expected = last if which == "last" else output.permute(0, 2, 1)
    expected.backward(torch.tensor(upstream))
    np.testing.assert_allclose(forward.output, expected.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(backward.dinputs[0], tensor.grad.numpy(), atol=1e-12)
    np.testing.assert_array_equal(backward.dinputs[1], 0)
    for name, parameter in named.items():
        np.testing.assert_allclose(backward.dparameters[name], parameter.grad.numpy(), atol=1e-12)


@given(cell=cells, direction=directions, which=outputs)
@settings(max_examples=8, deadline=None)
def test_what_lies_behind_the_end_of_a_sequence_changes_nothing(cell, direction, which):
    layer = cell(2, which, direction)
    (x,), parameters = draw(layer, [(3, 5)])
    mask = np.tile([1.0, 1.0, 1.0, 0.0, 0.0], (3, 1))
    longer = run(layer, [x, mask], parameters).output
    shorter = run(layer, [x[:, :, :3]], parameters).output
    if which == "all":
        np.testing.assert_array_equal(longer[:, :, 3:], 0)
        longer = longer[:, :, :3]
    np.testing.assert_allclose(longer, shorter, atol=1e-14)
    check(layer, (3, 5), (5,), sample=6)


@pytest.mark.parametrize("cell", CELLS)
def test_truncated_gradients_stop_where_torch_detaches(cell):
    layer = cell(2, "all", truncate=2)
    (x,), parameters = draw(layer, [(3, 5)])
    forward = run(layer, [x], parameters)
    np.testing.assert_array_equal(forward.output, run(cell(2, "all"), [x], parameters).output)
    upstream = RandomKey(2).normal("upstream", forward.output.shape)
    backward = layer.backward(OPS, upstream, forward.saved, parameters)
    # The same walk with a cell of PyTorch, the state detached before steps 2 and 4.
    modules = {RNN: torch.nn.RNNCell, LSTM: torch.nn.LSTMCell, GRU: torch.nn.GRUCell}
    module = modules[cell](3, 2).double()
    named = {name: torch.tensor(values, requires_grad=True) for name, values in parameters.items()}
    second = torch.zeros_like(named["bias"])
    if cell is GRU:
        second = torch.cat([second[:4], named["state_bias"]])
    weights = {
        "weight_ih": named["input_weight"],
        "weight_hh": named["state_weight"],
        "bias_ih": named["bias"],
        "bias_hh": second,
    }
    tensor = torch.tensor(x, requires_grad=True)
    state, results = None, []
    for t in range(5):
        if t in (2, 4):
            state = tuple(part.detach() for part in state) if cell is LSTM else state.detach()
        state = torch.func.functional_call(module, weights, (tensor[:, :, t], state))
        results.append(state[0] if cell is LSTM else state)
    torch.stack(results, dim=2).backward(torch.tensor(upstream))
    np.testing.assert_allclose(backward.dinputs[0], tensor.grad.numpy(), atol=1e-12)
    for name, parameter in named.items():
        np.testing.assert_allclose(backward.dparameters[name], parameter.grad.numpy(), atol=1e-12)


def test_one_step_of_a_simple_network_by_hand():
    parameters = {
        "input_weight": np.array([[2.0]]),
        "state_weight": np.array([[0.5]]),
        "bias": np.array([0.1]),
    }
    y = run(RNN(1, "all"), [np.array([[[0.3, -0.2]]])], parameters).output[0, 0]
    first = np.tanh(2 * 0.3 + 0.1)
    np.testing.assert_allclose(y, [first, np.tanh(2 * -0.2 + 0.1 + 0.5 * first)])


def test_the_forget_gate_starts_open():
    bias = LSTM(3).parameter_specs((2, 4))["bias"]
    drawn = bias.initializer.draw(bias, "bias", RandomKey())
    np.testing.assert_array_equal(drawn, [0] * 3 + [1] * 3 + [0] * 6)


def test_stacked_layers_learn_to_add():
    """The sum of the marked one of two numbers: an LSTM over another remembers it, the mean cannot."""
    key = RandomKey(3)
    x = np.zeros((200, 2, 6))
    x[:, 0] = key.uniform("values", (200, 6))
    marked = (key.uniform("where", (200,)) * 6).astype(int)
    x[np.arange(200), 1, marked] = 1
    labels = (x[np.arange(200), 0, marked] > 0.5).astype(int)
    network = Sequential(LSTM(8, "all"), LSTM(8), Dense(2), input_shape=(2, 6))
    program = Program(network)
    session = program.session(network.initialize(1), SGD(0.5, momentum=0.9), clip_norm=1.0)
    for step in range(150):
        session.step(x, labels, RandomKey(0, step=step), 0.5)
    accuracy = (program.predict(session.parameters, x).argmax(axis=1) == labels).mean()
    assert accuracy > 0.95


@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple), data=st.data())
@settings(max_examples=10, deadline=None)
def test_reshape_permute_multiply(shape, data):
    axes = tuple(data.draw(st.permutations(range(len(shape)))))
    check(Permute(axes), shape, sample=6)
    check(Reshape((-1, shape[0])), shape, sample=6)
    check(Multiply(), shape, shape, shape, sample=6)
    compare_with_torch(Permute(axes), [shape], lambda x: x.permute(0, *(axis + 1 for axis in axes)))
    compare_with_torch(Reshape((-1, shape[0])), [shape], lambda x: x.reshape(len(x), -1, shape[0]))
    compare_with_torch(Multiply(), [shape] * 3, lambda a, b, c: a * b * c)


def test_the_rows_of_an_image_are_the_steps_of_a_sequence():
    network = Sequential(Reshape((4, 3)), Permute((1, 0)), RNN(2), Dense(2), input_shape=(1, 4, 3))
    assert network.shapes["permute1"] == (3, 4)
    assert check_gradients(network, sample=10).passed
    assert "rnn1" in network.summary()
    x = RandomKey(1).normal("x", (2, 1, 4, 3))
    np.testing.assert_array_equal(
        Program(network).forward(network.initialize(), x, keep=True).values["permute1"][:, :, 1],
        x[:, 0, 1, :].astype(np.float32),
    )


def test_bad_settings_and_shapes():
    with pytest.raises(ShapeError, match="expected a sequence"):
        LSTM(3).output_shape((1, 4, 4))
    with pytest.raises(ShapeError, match=r"has shape \(5,\), got \(4,\)"):
        GRU(3).output_shape((2, 5), (4,))
    with pytest.raises(SettingError, match="truncate must be whole numbers from 1"):
        RNN(3, truncate=0)
    with pytest.raises(ShapeError, match="which do not make"):
        Reshape((3, -1)).output_shape((7,))
    with pytest.raises(SettingError, match="one of them perhaps -1"):
        Reshape((-1, -1))
    with pytest.raises(SettingError, match="axes must name each axis once"):
        Permute((1, 2))
    with pytest.raises(ShapeError, match="do not fit to an input of shape"):
        Permute((1, 0)).output_shape((3, 4, 5))
    with pytest.raises(ShapeError, match="all inputs must have one shape"):
        Multiply().output_shape((2,), (3,))
    with pytest.raises(SettingError, match="gates do not divide"):
        Network({"it": LSTM(3, bias_initializer=GateBias((1.0,) * 5))}, (2, 4)).initialize()
