"""What holds for every layer class, found through `Layer.members`: gradients, JSON, frozen settings, precision."""

import dataclasses
import inspect
import json
import re

import numpy as np
import pytest
from tests.mathematics.layer_examples import EXAMPLES

import tatami.layers
from tatami import Layer, Network, Program, RandomKey, SettingError, TatamiError, check_gradients
from tatami.backends import ReferenceBackend
from tatami.layers import Context

OPS = ReferenceBackend()
CASES = [
    pytest.param(layer, shapes, id=f"{cls.__name__}-{number}")
    for cls, examples in EXAMPLES.items()
    for number, (layer, shapes) in enumerate(examples)
]
every_case = pytest.mark.parametrize(("layer", "shapes"), CASES)


def drawn_inputs(layer, shapes, dtype="float64", examples=3):
    return tuple(
        layer.draw_input(RandomKey(5), f"x{number}", (examples, *shape)).astype(dtype)
        for number, shape in enumerate(shapes)
    )


def drawn_parameters(layer, shapes, dtype="float64"):
    return {
        name: (
            spec.initializer.draw(spec, name, RandomKey(6)) + 0.1 * RandomKey(7).normal(name, spec.shape)
        ).astype(dtype)
        for name, spec in layer.parameter_specs(*shapes).items()
    }


def initial_context(layer, shapes, training=True, dtype="float64"):
    state = {name: np.asarray(v, dtype=dtype) for name, v in layer.initial_state(*shapes).items()}
    return Context(training, RandomKey(8), state)


@pytest.mark.parametrize("cls", Layer.members.values(), ids=lambda cls: cls.__name__)
def test_every_layer_class_has_an_example(cls):
    assert cls in EXAMPLES, f"add {cls.__name__} to tests/mathematics/layer_examples.py"
    assert all(type(layer) is cls for layer, _ in EXAMPLES[cls])


def test_every_public_layer_is_a_member_and_bases_are_not():
    public = {cls for cls in vars(tatami.layers).values() if inspect.isclass(cls) and issubclass(cls, Layer)}
    members = set(Layer.members.values())
    assert members <= public
    for base in public - members:
        assert any(issubclass(cls, base) for cls in members), base


@every_case
def test_gradients(layer, shapes):
    report = check_gradients(layer, shapes, sample=60)
    assert report.passed, str(report)
    tensors = [name.rpartition(".")[2] for name in report.sizes]
    compared_inputs = [name for name in tensors if re.fullmatch(r"input\d*", name)]
    assert len(compared_inputs) == (0 if layer.takes_indices else len(shapes))
    assert set(layer.parameter_specs(*shapes)) <= set(tensors)


@every_case
def test_json_round_trip(layer, shapes):
    named = dataclasses.replace(layer, name="it")
    assert Layer.from_json(json.loads(json.dumps(named.to_json()))) == named
    assert type(layer).from_json(layer.to_json()) == layer


@every_case
def test_a_network_with_it_is_saved_and_read_back(layer, shapes, tmp_path):
    network = network_of(layer, shapes)
    path = tmp_path / "network.json"
    path.write_text(json.dumps(network.to_json()))
    again = Network.from_json(path.read_text())
    assert again == network
    assert again["it"] == network["it"]
    x = drawn_inputs(layer, [network.input_shape], "float32")[0]
    outputs = [
        Program(each).forward(each.initialize(seed=3), x, training=True, key=RandomKey(1)).output
        for each in (network, again)
    ]
    np.testing.assert_array_equal(*outputs)


def network_of(layer, shapes):
    """Put a layer into a network; a dense layer makes each of its inputs if there are several."""
    if len(shapes) == 1:
        return Network({"it": layer}, shapes[0])
    layers = {"flat": tatami.Flatten()}
    for number, shape in enumerate(shapes):
        layers[f"dense{number}"] = (tatami.Dense(int(np.prod(shape))), "flat")
        layers[f"source{number}"] = tatami.Reshape(shape)
    sources = [f"source{number}" for number in range(len(shapes))]
    return Network({**layers, "it": (layer, sources)}, shapes[0])


@every_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_and_precision_are_kept(layer, shapes, dtype):
    inputs, parameters = drawn_inputs(layer, shapes, dtype), drawn_parameters(layer, shapes, dtype)
    result = layer.forward(OPS, inputs, parameters, initial_context(layer, shapes, dtype=dtype))
    assert result.output.shape == (3, *layer.output_shape(*shapes))
    assert result.output.dtype == dtype
    backward = layer.backward(OPS, np.ones_like(result.output), result.saved, parameters)
    assert [(dx.shape, dx.dtype) for dx in backward.dinputs] == [(x.shape, x.dtype) for x in inputs]
    gradients = {name: (g.shape, g.dtype) for name, g in backward.dparameters.items()}
    assert gradients == {name: (w.shape, w.dtype) for name, w in parameters.items()}


@every_case
def test_inputs_parameters_and_upstream_gradient_are_not_changed(layer, shapes):
    inputs, parameters = drawn_inputs(layer, shapes), drawn_parameters(layer, shapes)
    for array in (*inputs, *parameters.values()):
        array.flags.writeable = False
    result = layer.forward(OPS, inputs, parameters, initial_context(layer, shapes))
    dy = np.ones_like(result.output)
    dy.flags.writeable = False
    result.output.flags.writeable = False
    layer.backward(OPS, dy, result.saved, parameters)


@every_case
def test_an_example_does_not_depend_on_its_batch_at_prediction(layer, shapes):
    inputs, parameters = drawn_inputs(layer, shapes), drawn_parameters(layer, shapes)
    context = initial_context(layer, shapes, training=False)
    together = layer.forward(OPS, inputs, parameters, context).output
    for n in range(3):
        alone = layer.forward(OPS, tuple(x[n : n + 1] for x in inputs), parameters, context).output
        np.testing.assert_allclose(alone[0], together[n], rtol=1e-13, atol=1e-13)


@every_case
def test_summary_numbers_are_whole(layer, shapes):
    assert isinstance(layer.multiply_adds(*shapes), int)
    assert layer.multiply_adds(*shapes) >= 0
    assert isinstance(layer.settings(), str)
    assert "\n" not in layer.settings()


WRONG_VALUES = [
    None,
    "no",
    "",
    2.5,
    -1,
    0,
    True,
    np.nan,
    np.inf,
    10**400,
    [],
    [[]],
    {},
    object(),
    (1, "a"),
    2**21,
]


@pytest.mark.parametrize("cls", Layer.members.values(), ids=lambda cls: cls.__name__)
def test_wrong_settings_end_in_our_errors(cls):
    """Every setting of every layer takes each wrong value: nothing but a TatamiError may come out."""
    for layer, shapes in EXAMPLES.get(cls, []):
        for field in dataclasses.fields(layer):
            for value in WRONG_VALUES:
                try:
                    changed = dataclasses.replace(layer, **{field.name: value})
                    Network({"it": (changed, ["input"] * len(shapes))}, shapes[0])
                except TatamiError:
                    continue
                # What is accepted must be meant: it can be written and read.
                assert Layer.from_json(json.loads(json.dumps(changed.to_json()))) == changed


@pytest.mark.parametrize("cls", Layer.members.values(), ids=lambda cls: cls.__name__)
def test_wrong_input_shapes_end_in_our_errors(cls):
    for layer, shapes in EXAMPLES.get(cls, []):
        for wrong in ([(3,)], [(2, 1)], [(1, 1, 1)], [(1, 1, 1, 1)], [(1, 1, 1, 1, 1)], shapes * 2, []):
            try:
                output = layer.output_shape(*wrong)
            except TatamiError as error:
                message = str(error)
            else:
                message = type(layer).__name__
                assert all(isinstance(size, int) and size > 0 for size in output)
            assert type(layer).__name__ in message, "the error should name the layer"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tatami.Convolution(8, 2.5), "Convolution: kernel must be a whole number or a list of"),
        (lambda: tatami.Convolution(8, "3"), "Convolution: kernel must be a whole number"),
        (lambda: tatami.Convolution(8.0, 3), r"Convolution: filters must be a whole number, got 8\.0"),
        (lambda: tatami.Convolution(8, 3, bias="no"), "Convolution: bias must be True or False, got 'no'"),
        (
            lambda: tatami.Convolution(8, 3, padding=1.5),
            "Convolution: padding must be a text, a whole number or",
        ),
        (
            lambda: tatami.Convolution(8, 3, weight_initializer=tatami.ReLU()),
            "of the family 'initial value', got",
        ),
        (lambda: tatami.Dense(10.0), r"Dense: units must be a whole number, got 10\.0"),
        (lambda: tatami.Dense("10"), "Dense: units must be a whole number, got '10'"),
        (lambda: tatami.Dropout(-0.1), "ratio must be at least 0 and below 1, got -0.1"),
        (lambda: tatami.Dropout(1), "ratio must be at least 0 and below 1, got 1"),
        (lambda: tatami.Dropout("half"), "Dropout: ratio must be a finite number, got 'half'"),
        (lambda: tatami.LpPool(2, p=0.5), r"p must be a(?: finite)? number of at least 1, got 0\.5"),
        (lambda: tatami.LpPool(2, p=float("inf")), "LpPool: p must be a finite number, got inf"),
        (lambda: tatami.L2Pool(2, p=3), "p is 2 by definition"),
        (lambda: tatami.MaxPool(2, name=3), "MaxPool: name must be a text, got 3"),
    ],
)
def test_the_messages_of_wrong_settings(make, message):
    with pytest.raises(SettingError, match=message):
        make()


def test_an_unknown_tie_rule_is_suggested():
    with pytest.raises(
        tatami.UnknownNameError, match="unknown ties of MaxPool 'frist': did you mean 'first'"
    ):
        tatami.MaxPool(2, ties="frist")


def test_numpy_numbers_are_numbers():
    layer = tatami.Convolution(np.int64(4), np.array([3, 3]), stride=[np.int32(2), 1])
    assert layer == tatami.Convolution(4, (3, 3), stride=(2, 1))
    assert json.dumps(layer.to_json())
    assert tatami.Dropout(np.float64(0.5)) == tatami.Dropout(0.5)


@pytest.mark.parametrize(
    "description",
    [{"type": name} for name in ("Layer", "Activation", "Pool", "GlobalPool", "Initializer", "Scaled")]
    + [{"type": "Xavier"}, {"type": "Dense", "units": 3, "weight_initializer": {"type": "Scaled"}}],
)
def test_bases_and_members_of_other_families_cannot_be_read(description):
    with pytest.raises(tatami.UnknownNameError, match="unknown"):
        Layer.from_json(description)
