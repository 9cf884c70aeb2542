"""A network is data: JSON in and out, and whatever a file holds ends in a network or in one of our errors."""

import copy
import json
import tracemalloc

import pytest
from hypothesis import given, settings, strategies as st

from tatami import (
    Add,
    Convolution,
    Dense,
    Network,
    ReLU,
    Sequential,
    SettingError,
    TatamiError,
    UnknownNameError,
    Xavier,
    build,
)
from tatami.description import Described
from tatami.errors import unknown_name
from tatami.layers import Layer
from tatami.losses import Loss
from tatami.models import MODELS
from tatami.optimizers import Optimizer
from tatami.schedules import Schedule

FAMILIES = [Layer, Loss, Optimizer, Schedule]


@pytest.mark.parametrize("name", MODELS)
def test_named_networks_round_trip(name):
    network = build(name)
    text = json.dumps(network.to_json(), allow_nan=False)
    assert Network.from_json(text) == network
    assert Network.from_json(text.encode()) == network
    assert Network.from_json(json.loads(text)).summary() == network.summary()


def test_a_graph_round_trips():
    network = Network(
        {
            "conv": Convolution(2, 3, padding=[(2, 0), 1], weight_initializer=Xavier("uniform")),
            "sum": (Add(), ("conv", "conv")),
        },
        (1, 4, 4),
        name="twice",
    )
    again = Network.from_json(json.dumps(network.to_json()))
    assert again == network
    assert again["conv"].padding == ((2, 0), 1)
    assert [node.inputs for node in again.nodes] == [("input",), ("conv", "conv")]


VALID = Network(
    {"conv": Convolution(2, 3), "relu": ReLU(), "sum": (Add(), ("conv", "relu"))}, (1, 4, 4)
).to_json()


def changed(*path, to):
    data = copy.deepcopy(VALID)
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return data


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ("{", SettingError, "the network's description is not JSON"),
        (b"\xff", SettingError, "the network's description is not JSON"),
        ("[" * 100_000, SettingError, "the network's description is not JSON"),
        ("1" * 5000, SettingError, "the network's description is not JSON"),
        ("[]", SettingError, "a network is described by a JSON object, got list"),
        ({}, SettingError, "network format None is unknown, this version of Tatami reads 1"),
        (changed("format", to=2), SettingError, "network format 2 is unknown, .*a newer Tatami may read it"),
        (changed("layers", to={}), SettingError, "needs a list of 'layers' and a list 'input_shape'"),
        (
            changed("layers", to=[1]),
            SettingError,
            "a layer is described by 'name', 'inputs' and 'layer', got 1",
        ),
        (changed("layers", 0, "name", to=None), SettingError, "a layer is described by 'name'"),
        (changed("layers", 0, "name", to="relu"), SettingError, "two layers are called 'relu'"),
        (changed("layers", 0, "inputs", to=[{}]), SettingError, "layer 'conv': inputs are one or more names"),
        (changed("layers", 0, "inputs", to=["relu"]), SettingError, "wait for one another in a circle"),
        (
            changed("layers", 0, "layer", to="Dense"),
            SettingError,
            "a layer is described by an object with a 'type'",
        ),
        (
            changed("layers", 0, "layer", "type", to="Convolutoin"),
            UnknownNameError,
            "unknown layer 'Convolutoin': did you mean 'Convolution'",
        ),
        (changed("layers", 0, "layer", "type", to="He"), UnknownNameError, "unknown layer 'He'"),
        (changed("layers", 0, "layer", "kernal", to=3), UnknownNameError, "did you mean 'kernel'"),
        (
            changed("layers", 0, "layer", "kernel", to={"type": "ReLU"}),
            SettingError,
            "Convolution: kernel must be",
        ),
        (
            changed("layers", 0, "layer", "weight_initializer", to={"type": "Dense", "units": 3}),
            SettingError,
            "weight_initializer must be an object of the family 'initial value'",
        ),
        (changed("input_shape", to=[1, 4.0, 4]), SettingError, "input shape must be whole numbers"),
        (changed("input_shape", to=[2**20] * 10**5), TatamiError, "the input shape must be"),
        (changed("name", to=["x"]), SettingError, "the name of a network must be a text"),
        (changed("layers", to=[VALID["layers"][0]] * 10_001), SettingError, "needs a list of 'layers'"),
    ],
)
def test_descriptions_that_are_none(data, error, message):
    with pytest.raises(error, match=message):
        Network.from_json(data)


def test_missing_settings_are_named():
    with pytest.raises(SettingError, match="Dense cannot be built from .*units"):
        Layer.from_json({"type": "Dense"})


def test_nesting_has_a_limit():
    data = {"type": "WarmUp"}
    for _ in range(50):
        data = {"type": "WarmUp", "after": data}
    with pytest.raises(SettingError, match="nested more than 8 levels deep"):
        Schedule.from_json(data)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(TatamiError):
        Layer.from_json(deep)
    with pytest.raises(TatamiError):
        Layer.from_json({"type": "Dense", "units": deep})


def test_long_names_are_cut_in_messages():
    with pytest.raises(UnknownNameError) as caught:
        Layer.from_json({"type": "x" * 10**6})
    assert len(str(caught.value)) < 2000
    message = str(unknown_name("layer", "y", (f"layer{number}" for number in range(10**4))))
    assert len(message) < 2000


# ---- what Hypothesis thinks of -----------------------------------------------------------------------------

TYPES = sorted(Described.every_member)
SETTINGS = [
    "name",
    "kernel",
    "size",
    "stride",
    "padding",
    "units",
    "filters",
    "values",
    "after",
    "layer",
    "inputs",
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.integers(-2, 6)
    | st.floats(allow_nan=True)
    | st.text(max_size=5)
    | st.sampled_from(["valid", "same", "input", "conv", "relu", "mean", *TYPES])
)
garbage = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(SETTINGS) | st.text(max_size=3), inner, max_size=4)
        | st.builds(
            lambda name, rest: {"type": name, **rest},
            st.sampled_from(TYPES),
            st.dictionaries(st.sampled_from(SETTINGS), inner, max_size=3),
        )
    ),
    max_leaves=12,
)


def places(data, before=()):
    """Yield the path to every value inside a description."""
    yield before
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inside:
        yield from places(value, (*before, key))


def replaced(data, path, value):
    if not path:
        return value
    copied = copy.copy(data)
    copied[path[0]] = replaced(data[path[0]], path[1:], value)
    return copied


def survives(read, data):
    """Read hostile data: a result that can be written again and used, or one of our errors of a bearable length."""
    try:
        result = read(data)
        if isinstance(result, Network) and result.parameter_count < 10**5:
            result.initialize()
    except TatamiError as error:
        message = str(error)
    else:
        message = repr(result)
        assert read(json.loads(json.dumps(result.to_json()))) == result
        if isinstance(result, Network):
            assert result.summary()
    assert 0 < len(message) < 20_000


@given(data=garbage)
@settings(max_examples=300, deadline=None)
def test_garbage_ends_in_our_errors(data):
    survives(Network.from_json, data)
    for family in FAMILIES:
        survives(family.from_json, data)


@given(
    layers=st.lists(garbage, max_size=3),
    shape=garbage | st.lists(st.integers(1, 9), max_size=4),
    name=garbage,
)
@settings(max_examples=200, deadline=None)
def test_garbage_inside_a_network_ends_in_our_errors(layers, shape, name):
    entries = [
        {"name": f"l{number}", "inputs": ["input"], "layer": layer} for number, layer in enumerate(layers)
    ]
    survives(Network.from_json, {"format": 1, "name": name, "input_shape": shape, "layers": entries})


MODELS_AS_JSON = [build(name).to_json() for name in MODELS] + [VALID]


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_mutated_networks_end_in_our_errors(data):
    description = data.draw(st.sampled_from(MODELS_AS_JSON))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(description))))
        description = replaced(description, path, data.draw(garbage))
        if not isinstance(description, dict | list):
            break
    survives(Network.from_json, description)


@given(text=st.text(max_size=50) | st.binary(max_size=50))
@settings(max_examples=200, deadline=None)
def test_any_text_ends_in_our_errors(text):
    survives(Network.from_json, text)


@pytest.mark.parametrize("size", [2**10, 2**20, 2**40, 2**70])
def test_huge_descriptions_allocate_nothing(size):
    data = build("arai").to_json()
    tracemalloc.start()
    try:
        for path in places(data):
            if path and path[-1] in ("filters", "units", "kernel", "size", "stride", "dilation", "groups"):
                survives(Network.from_json, replaced(data, path, size))
        survives(Network.from_json, {**data, "input_shape": [1, size, size]})
        survives(Network.from_json, {**data, "input_shape": [size]})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20


def test_a_pooling_of_a_million_positions_is_checked_at_once():
    sequence = Sequential(*[layer for layer in [ReLU()] * 3], input_shape=(1, 2**20))
    data = sequence.to_json()
    data["layers"] = [
        {
            "name": f"pool{n}",
            "inputs": [f"pool{n - 1}" if n else "input"],
            "layer": {"type": "MaxPool", "size": 3, "stride": 1, "padding": 1},
        }
        for n in range(2000)
    ]
    assert Network.from_json(data).output_shape == (1, 2**20)


def test_dense_layers_of_any_family_member_are_told_apart():
    with pytest.raises(SettingError, match="expected a description of Dense, got one of ReLU"):
        Dense.from_json({"type": "ReLU"})
