"""Every layer, loss and optimiser class has an explanation that holds; a class without one fails here."""

import json

import numpy as np
import pytest
from tests.mathematics.layer_examples import EXAMPLES

import tatami
from tatami import Dense, Flatten, Identity, Network, RandomKey, Reshape, SquaredError, build, trace
from tatami.errors import UnknownNameError
from tatami.inspect.explain import LAYER_EXPLAINERS, LOSS_EXPLAINERS, OPTIMIZER_EXPLAINERS, LayerExplainer
from tatami.inspect.explanation import Explanation
from tatami.layers.base import Layer
from tatami.losses import Loss
from tatami.optimizers import Optimizer

CASES = [
    pytest.param(
        layer, shapes, training, id=f"{cls.__name__}-{number}-{'training' if training else 'prediction'}"
    )
    for cls, examples in EXAMPLES.items()
    for number, (layer, shapes) in enumerate(examples)
    for training in (False, True)
]
SAMPLE = 3
LOSSES = [
    tatami.SquaredError("sum"),
    tatami.SoftmaxCrossEntropy(),
    tatami.WeightedCrossEntropy(label_smoothing=0.1, class_weights=(1.0, 2.0, 0.5)),
    tatami.Focal(class_weights=(1.0, 2.0, 0.5)),
    tatami.Hinge(),
    tatami.Hinge(squared=True),
    tatami.Hinge(squared=True, class_weights=(1.0, 2.0, 0.5)),
    tatami.Dice(),
    tatami.Huber(delta=0.5),
    tatami.BinaryCrossEntropy("sum"),
    tatami.BinaryCrossEntropy(output_weights=(0.5, 1.0, 2.0), positive_weights=(1.0, 3.0, 0.0)),
    tatami.KLDivergence(),
    tatami.EvidenceBound(latent=1, beta=0.5),
    tatami.SparseReconstruction(hidden=1, likelihood="bernoulli"),
]
OPTIMIZERS = [
    tatami.SGD(0.1, 0.01),
    tatami.SGD(0.1, momentum=0.9, l1=0.1),
    tatami.SGD(0.1, momentum=0.9, nesterov=True, max_norm=0.5),
    tatami.AdaGrad(),
    tatami.RMSProp(weight_decay=0.1),
    tatami.Adam(weight_decay=0.1),
    tatami.AdamW(),
    tatami.SGD(0.1, momentum=0.9, average=0.9, rates=(("dense1", 0.5), ("conv1", 0.0))),
    tatami.AdamW(average=0.99, max_norm=0.5, weight_decay=0.1, rates=(("conv1", 2.0),)),
]


@pytest.mark.parametrize("cls", Layer.members.values(), ids=lambda cls: cls.__name__)
def test_every_layer_class_has_an_explanation(cls):
    assert cls in LAYER_EXPLAINERS, (
        f"explain {cls.__name__} in tatami/inspect/explain: @explains({cls.__name__})"
    )


@pytest.mark.parametrize("cls", Loss.members.values(), ids=lambda cls: cls.__name__)
def test_every_loss_class_has_an_explanation(cls):
    assert cls in LOSS_EXPLAINERS, f"explain {cls.__name__} in tatami/inspect/explain/losses.py"
    assert any(type(loss) is cls for loss in LOSSES), f"add {cls.__name__} to LOSSES above"


@pytest.mark.parametrize("cls", Optimizer.members.values(), ids=lambda cls: cls.__name__)
def test_every_optimizer_class_has_an_explanation(cls):
    assert cls in OPTIMIZER_EXPLAINERS, f"explain {cls.__name__} in tatami/inspect/explain/optimizers.py"
    assert any(type(optimizer) is cls for optimizer in OPTIMIZERS), f"add {cls.__name__} to OPTIMIZERS above"


@pytest.mark.parametrize("cls", Layer.members.values(), ids=lambda cls: cls.__name__)
def test_every_layer_that_carries_something_on_explains_how_it_changes(cls):
    carries = cls.initial_state is not Layer.initial_state
    assert carries == (type(LAYER_EXPLAINERS[cls]).new_state is not LayerExplainer.new_state)


def test_running_statistics_are_followed_to_the_pixels():
    network = tatami.Sequential(tatami.layers.BatchNormalization(momentum=0.25), input_shape=(2, 2, 2))
    x = RandomKey(1).normal("x", (3, 2, 2, 2))
    kept = trace(network, network.initialize(dtype="float64"), x, training=True)
    name = network.nodes[0].name
    mean = kept.explain(f"{name}.running_mean", (1,))
    assert mean.value == pytest.approx(0.25 * x[:, 1].mean())
    assert mean.references[0].label() == f"{name}.running_mean[1]"
    assert {reference.label() for reference in mean.references} >= {"input[2,1,0,1]"}
    variance = kept.explain(f"{name}.running_variance", (1,))
    assert variance.value == pytest.approx(0.75 + 0.25 * x[:, 1].var(ddof=1))
    assert "m/(m − 1)" in variance.text()
    still = trace(network, network.initialize(dtype="float64"), x).explain(f"{name}.running_mean", (1,))
    assert still.exact
    assert still.value == 0.0
    assert still.references[0].follow().given


def network_of(layer, shapes):
    """Put a layer into a network; a dense layer makes each of its inputs if there are several."""
    if len(shapes) == 1:
        return Network({"it": layer}, shapes[0])
    layers = {"flat": Flatten()}
    for number, shape in enumerate(shapes):
        layers[f"dense{number}"] = (Dense(int(np.prod(shape))), "flat")
        layers[f"source{number}"] = Reshape(shape)
    sources = [f"source{number}" for number in range(len(shapes))]
    return Network({**layers, "it": (layer, sources)}, shapes[0])


def some(shape, seed, count=SAMPLE):
    places = list(np.ndindex(*shape))
    return [places[at] for at in RandomKey(seed).permutation("places", len(places))[:count]]


def traced(layer, shapes, training):
    network = network_of(layer, shapes)
    params = {
        name: {key: w + 0.3 * RandomKey(2).normal(f"{name}.{key}", w.shape) for key, w in named.items()}
        for name, named in network.initialize(1, "float64").items()
    }
    draws = layer if len(shapes) == 1 else Identity()
    x = draws.draw_input(RandomKey(5), "x", (2, *network.input_shape)).astype(np.float64)
    target = RandomKey(6).normal("target", (2, *network.output_shape))
    return trace(network, params, x, target, SquaredError(), training=training, key=RandomKey(7))


def explanations_of(kept):
    """Explain a sample of everything that a layer has: outputs, gradients, and what it saved."""
    layer = kept["it"]
    for at in some(layer.output.shape, 1):
        yield kept.explain("it", at)
    for number, gradient in enumerate(layer.input_gradients):
        for at in some(gradient.shape, 2):
            yield kept.explain_gradient(f"it.input{'' if number == 0 else number + 1}", at)
    for name, gradient in layer.dparameters.items():
        for at in some(gradient.shape, 3):
            yield kept.explain_gradient(f"it.{name}", at)
    for name, gradient in kept.inner_gradients("it").items():
        for at in some(gradient.shape, 5):
            yield kept.explain_gradient(f"it.{name}", at)
    for name, state in layer.new_state.items():
        for at in some(np.shape(state), 6):
            yield kept.explain(f"it.{name}", at)
    for name, saved in layer.saved.items():
        for at in some(np.shape(saved), 4, 2):
            yield kept.explain(f"it.{name}", at)


def show_in_every_form(explanation):
    plain = explanation.to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    again = Explanation.from_json(json.loads(json.dumps(plain)))
    assert again.to_json() == plain
    assert again.check() == explanation.check()
    assert again.html(language="ja", one_based=True) == explanation.html(language="ja", one_based=True)
    assert explanation.subject.label() in explanation.text()
    for form in ("text", "markdown", "html"):
        for language in ("en", "ja"):
            shown = getattr(explanation, form)(language=language, one_based=True)
            assert len(shown) > 10
            assert form == "markdown" or "\\" not in shown


@pytest.mark.parametrize(("layer", "shapes", "training"), CASES)
def test_a_random_sample_of_every_layer_holds(layer, shapes, training):
    kept = traced(layer, shapes, training)
    explanations = list(explanations_of(kept))
    for explanation in explanations:
        assert explanation.check(), str(explanation)
        for reference in explanation.references[:3]:
            assert reference.follow().check(), str(reference.follow())
    show_in_every_form(explanations[0])
    show_in_every_form(explanations[-1])


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("examples", [1, 2])
def test_every_loss_holds(loss, examples):
    network = Network({"it": tatami.Sigmoid()}, (2, 2) if isinstance(loss, tatami.Dice) else (3,))
    x = RandomKey(3).normal("x", (examples, *network.input_shape))
    target = loss.draw_target(RandomKey(4), examples, network.output_shape)
    kept = trace(network, {}, x, target, loss)
    explanations = [kept.explain_loss()]
    explanations += [kept.explain_gradient("it", at) for at in np.ndindex(kept["it"].output.shape)]
    for explanation in explanations:
        assert explanation.check(), str(explanation)
    show_in_every_form(explanations[0])
    show_in_every_form(explanations[-1])


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
def test_every_update_holds_step_after_step(optimizer):
    network = build("ox")
    x = RandomKey(1).normal("x", (2, 1, 3, 3))
    params, state = network.initialize(dtype="float64"), None
    for _ in range(3):
        kept = trace(network, params, x, [0, 1], SquaredError("sum"))
        state = optimizer.initialize(params) if state is None else state
        gradients = {name: dict(kept[name].dparameters) for name in params}
        updated, after = optimizer.update(params, gradients, state)
        for name, at in (("dense1.weight", (1, 0)), ("dense1.bias", (1,)), ("conv1.weight", (1, 0, 1, 1))):
            explanation = kept.explain_update(optimizer, name, at, state)
            layer, parameter = name.split(".")
            assert explanation.value == updated[layer][parameter][at]
            assert explanation.check(), str(explanation)
            kinds = [reference.kind for reference in explanation.references]
            frozen = dict(optimizer.rates).get(layer) == 0
            assert ({"parameter"} if frozen else {"parameter", "parameter gradient"}) <= set(kinds)
            assert all(reference.follow().check() for reference in explanation.references)
            show_in_every_form(explanation)
            for slot in after.slots:
                remembered = kept.explain_update(optimizer, f"{name}.{slot}", at, state)
                assert remembered.value == after.slots[slot][layer][parameter][at]
                assert remembered.check(), str(remembered)
                assert remembered.exact
                assert all(reference.follow().check() for reference in remembered.references)
        params, state = updated, after


def test_a_class_without_explanation_is_refused_with_advice(monkeypatch):
    monkeypatch.delitem(LAYER_EXPLAINERS, tatami.ReLU)
    kept = trace(Network({"relu1": tatami.ReLU()}, (2,)), {}, np.ones(2))
    with pytest.raises(
        UnknownNameError, match="ReLU has no explanation yet; write one in tatami.inspect.explain"
    ):
        kept.explain("relu1", (0,))


def test_a_layer_that_is_read_twice_gets_the_sum_of_both_gradients():
    layers = {
        "dense1": Dense(3),
        "relu1": tatami.ReLU(),
        "add1": (tatami.Add(), ("relu1", "dense1")),
    }
    network = Network(layers, (2,))
    kept = trace(
        network, network.initialize(dtype="float64"), np.array([0.5, -1.0]), [1.0, 0.0, 0.0], SquaredError()
    )
    explanation = kept.explain_gradient("dense1", (1,))
    assert [reference.label() for reference in explanation.references] == [
        "∂E/∂add1.input2[1]",
        "∂E/∂relu1.input[1]",
    ]
    assert explanation.exact
    assert explanation.check()
