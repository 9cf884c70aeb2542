"""Explanations read back from JSON: the same as before, and damaged ones refused."""

import contextlib
import copy
import json

import pytest
from hypothesis import given, settings, strategies as st

from tatami import SquaredError, build, load, trace
from tatami.errors import DataError, SettingError
from tatami.inspect import expression
from tatami.inspect.explain.base import Slope
from tatami.inspect.explanation import Explanation, Reference
from tatami.inspect.stored import DEEPEST, Known, described_node

NETWORK = build("ox")
KEPT = trace(NETWORK, NETWORK.initialize(dtype="float64"), load("ox").train.images[0], 0, SquaredError("sum"))
UNIT = KEPT.explain("sigmoid2", (1,))
WRITTEN = UNIT.to_json()


def test_it_is_the_same_in_every_form_and_cannot_be_followed():
    again = Explanation.from_json(json.loads(json.dumps(WRITTEN)))
    for options in ({}, {"language": "ja"}, {"one_based": True, "digits": 7, "most_terms": None}):
        assert again.text(**options) == UNIT.text(**options)
        assert again.markdown(**options) == UNIT.markdown(**options)
    assert (again.value, again.computed, again.bound) == (UNIT.value, UNIT.computed, UNIT.bound)
    assert [term.value for term in again.terms] == [term.value for term in UNIT.terms]
    with pytest.raises(
        SettingError, match=r"dense1\[1\]: an explanation that was read from JSON cannot be followed"
    ):
        again.references[0].follow()


def test_every_kind_of_node_can_be_written():
    written = {cls for cls in vars(expression).values() if isinstance(cls, type)}
    nodes = {cls for cls in written if issubclass(cls, expression.Expression)} - {expression.Expression}
    assert nodes == {
        expression.Number, expression.Padding, expression.Sum, expression.Negative, expression.Product,
        expression.Applied, expression.Maximum, expression.Named,
    }  # fmt: skip
    below = {Reference, Slope, Known}
    assert set(all_below(expression.Expression)) == nodes | below
    assert described_node(Slope(2.0))["is"] == "slope"


def all_below(cls):
    for one in cls.__subclasses__():
        yield one
        yield from all_below(one)


@pytest.mark.parametrize("data", [None, [], {}, 3, {"derivation": {}}, {"derivation": None}])
def test_what_is_no_explanation_is_refused(data):
    with pytest.raises(DataError, match="not an explanation as to_json writes it"):
        Explanation.from_json(data)


def damaged(path, value):
    data = copy.deepcopy(WRITTEN)
    place = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            ("derivation", "nodes", 0),
            {"is": "sum", "of": [0]},
            "node 0 names nodes that do not stand before it",
        ),
        (("derivation", "nodes", 0), {"is": "magic"}, "KeyError"),
        (("derivation", "nodes"), [], "IndexError"),
        (("derivation", "formula"), ["\\evil", ""], "unknown command"),
        (("derivation", "notes"), [["no such remark", {}, []]], "no such remark"),
        (("derivation", "exact"), 1, "expected true or false, got 1"),
        (("derivation", "arrays", 0, 0), "pickle", "no array 'pickle'"),
        (("owner",), 7, "expected a text, got 7"),
    ],
)
def test_damage_is_named(path, value, message):
    with pytest.raises(DataError, match="not an explanation") as caught:
        Explanation.from_json(damaged(path, value))
    assert message in str(caught.value)


def test_nodes_cannot_be_nested_without_end():
    data = copy.deepcopy(WRITTEN)
    nodes = [{"is": "number", "value": 1.0, "name": ""}]
    nodes += [{"is": "negative", "of": [at]} for at in range(DEEPEST)]
    data["derivation"]["nodes"] = nodes
    with pytest.raises(DataError, match=f"nested deeper than {DEEPEST}"):
        Explanation.from_json(data)


def places_in(value, path=()):
    if isinstance(value, dict | list):
        for key, inside in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, key)
            yield from places_in(inside, (*path, key))


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_damage_gives_an_explanation_or_a_named_error(data):
    path = data.draw(st.sampled_from([("derivation", *place) for place in places_in(WRITTEN["derivation"])]))
    junk = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=5)
        | st.lists(st.integers())
    )
    with contextlib.suppress(DataError):
        Explanation.from_json(damaged(path, data.draw(junk)))
