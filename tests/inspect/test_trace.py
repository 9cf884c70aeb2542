"""The trace itself: shapes with and without the axis of examples, errors, forms."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest

from tatami import (
    GRU,
    LSTM,
    RNN,
    Add,
    BatchNormalization,
    Concatenate,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    Network,
    Pad,
    Program,
    RandomKey,
    ReLU,
    Sequential,
    SettingError,
    ShapeError,
    SoftmaxCrossEntropy,
    SquaredError,
    UnknownNameError,
    build,
    load,
    native,
    trace,
    train,
)
from tatami.inspect.explanation import equal_bits
from tatami.inspect.phrases import ENGLISH, JAPANESE

LAYERS = (Convolution(3, 3, padding="same"), ReLU(), MaxPool(2), Flatten(), Dense(4))


@pytest.fixture(scope="module")
def network():
    return Sequential(*LAYERS, input_shape=(2, 4, 5))


@pytest.fixture(scope="module")
def image():
    return RandomKey(1).normal("image", (2, 4, 5))


@pytest.fixture(scope="module")
def kept(network, image):
    return trace(network, network.initialize(3), image, target=2)


def test_it_holds_what_the_program_computes(network, image, kept):
    step = Program(network, precision="f64").train_step(
        network.initialize(3), image[None], np.array([2]), keep=True
    )
    assert kept.loss_value == pytest.approx(step.loss, rel=1e-14)
    for name in ("conv1", "relu1", "pool1", "dense1"):
        np.testing.assert_allclose(kept[name].output, step.values[name][0], rtol=1e-12)
        np.testing.assert_allclose(kept[name].gradient, step.value_gradients[name][0], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(
        kept["conv1"].dparameters["weight"], step.gradients["conv1"]["weight"], rtol=1e-10, atol=1e-14
    )


def test_one_example_is_indexed_without_its_axis(network, image, kept):
    assert kept["conv1"].output.shape == (3, 4, 5)
    assert kept["conv1"].input.shape == (2, 4, 5)
    batch = trace(network, network.initialize(3), image[None], target=2)
    assert batch["conv1"].output[0, 2, 3] == kept["conv1"].output[0, 2, 3]
    short, full = kept.explain("conv1", (0, 2, 3)), kept.explain("conv1", (0, 0, 2, 3))
    assert short.subject == full.subject
    assert short.subject.label() == "conv1[0,2,3]"
    assert kept.explain("conv1", (-1, 2, 3)).subject.label() == "conv1[2,2,3]"


def test_several_examples_are_indexed_with_it(network, image):
    kept = trace(network, network.initialize(3), np.stack([image, -image]), target=[1, 2])
    assert kept["conv1"].output.shape == (2, 3, 4, 5)
    explanation = kept.explain("conv1", (1, 0, 2, 3))
    assert explanation.subject.label() == "conv1[1,0,2,3]"
    assert explanation.check()
    gradient = kept.explain_gradient("dense1.weight", (1, 4))
    assert len(gradient.terms) == 2
    assert gradient.check()


def test_padding_is_marked_and_adds_nothing(kept):
    explanation = kept.explain("conv1", (0, 0, 0))
    assert sum(term.padding for term in explanation.terms) == 2 * 5
    assert "0 (padding)" in explanation.text(most_terms=None)
    assert "0 (パディング)" in explanation.text(language="ja", most_terms=None)


def test_long_sums_are_shortened_and_complete_on_request(kept):
    explanation = kept.explain("dense1", (0,))
    assert len(explanation.terms) == 13
    assert "… 1 more …" in explanation.text()
    assert "more" not in explanation.text(most_terms=None)
    assert len(explanation.to_json()["terms"]) == 13


def test_a_number_that_was_altered_does_not_pass(network, image):
    kept = trace(network, network.initialize(3), image)
    assert kept.explain("conv1", (0, 2, 3)).check()
    kept.records["conv1"].output[0, 0, 2, 3] += 1e-9
    explanation = kept.explain("conv1", (0, 2, 3))
    assert not explanation.check()
    assert "DOES NOT HOLD" in explanation.text()
    kept.records["dense1"].output[0, 1] += 1e-9
    assert not kept.explain("dense1", (1,)).check()


def test_given_numbers_say_what_they_are(kept):
    pixel = kept.explain("input", (1, 2, 3))
    assert pixel.given
    assert pixel.references == ()
    assert "a pixel of the input" in pixel.text()
    weight = kept.explain("conv1.weight", (0, 1, 2, 2))
    assert "パラメータ" in weight.text(language="ja")
    assert weight.check()


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda kept: kept.explain("conv2", (0, 0, 0)), UnknownNameError, "'conv2': did you mean 'conv1'"),
        (lambda kept: kept["relu"], UnknownNameError, "did you mean 'relu1'"),
        (lambda kept: kept.explain("conv1", (3, 0, 0)), ShapeError, r"\(3, 4, 5\), there is no entry \[3, 0, 0\]"),
        (lambda kept: kept.explain("conv1", (0, 0)), ShapeError, r"conv1 has shape \(3, 4, 5\)"),
        (lambda kept: kept.explain("conv1", (0, 0.5, 0)), ShapeError, "an index is whole numbers"),
        (lambda kept: kept.explain("conv1.wieght", (0,)), UnknownNameError, "did you mean 'weight'"),
        (lambda kept: kept.explain_gradient("conv1.wieght", (0,)), UnknownNameError, "did you mean 'weight'"),
        (
            lambda kept: kept.explain_gradient("conv1.weight", (0, 0, 3, 0)),
            ShapeError,
            r"∂E/∂conv1.weight has shape \(3, 2, 3, 3\)",
        ),
        (lambda kept: kept.im2col("dense1"), SettingError, "im2col belongs to layers that move a window"),
        (lambda kept: kept.im2col("conv1", example=1), SettingError, "example must be from 0 to 0"),
        (lambda kept: kept.explain("conv1", (0, 0, 0)).text(language="fr"), UnknownNameError, "unknown language 'fr'"),
        (lambda kept: kept.explain("conv1", (0, 0, 0)).text(digits=0), SettingError, "digits must be from 1 to 17"),
        (lambda kept: kept.explain("conv1", (0, 0, 0)).text(most_terms=1), SettingError, "at least 2, or None"),
    ],
)  # fmt: skip
def test_mistakes_get_an_answer(kept, ask, error, message):
    with pytest.raises(error, match=message):
        ask(kept)


def test_gradients_need_a_target(network, image):
    kept = trace(network, network.initialize(3), image)
    assert kept["conv1"].gradient is None
    for ask in (kept.explain_loss, lambda: kept.explain_gradient("conv1.weight", (0, 0, 0, 0))):
        with pytest.raises(SettingError, match="no gradients without a target"):
            ask()


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize(
    ("loss", "target"),
    [
        (SoftmaxCrossEntropy(), np.array([[0, 1], [1, 0]])),
        (SquaredError(), np.arange(8.0).reshape(2, 2, 2)),
    ],
)
def test_targets_of_maps_come_with_or_without_the_axis_of_examples(batched, loss, target):
    network = Sequential(Convolution(2, 1), input_shape=(1, 2, 2))
    x = np.ones((1, 2, 2))
    kept = (
        trace(network, network.initialize(1), x[None], target[None], loss)
        if batched
        else trace(network, network.initialize(1), x, target, loss)
    )
    assert kept.explain_loss().check()
    assert kept.explain_gradient("conv1", (1, 0, 1)).check()


@pytest.mark.parametrize("target", [2, np.int64(2), [2], np.array([2])])
def test_a_label_may_be_a_number_or_a_list_of_one(network, image, target):
    assert trace(network, network.initialize(3), image, target).target.tolist() == [2]


def test_wrong_inputs_are_refused(network):
    params = network.initialize(3)
    with pytest.raises(ShapeError, match=r"takes one example of shape \(2, 4, 5\) or a batch"):
        trace(network, params, np.ones((4, 5)))
    with pytest.raises(ShapeError, match="2 examples came with 1 targets"):
        trace(network, params, np.ones((2, 2, 4, 5)), target=0)


def test_infinite_numbers_are_explained_too():
    network = Sequential(Dense(1), input_shape=(2,))
    params = {"dense1": {"weight": np.array([[1e308, 1e308]]), "bias": np.array([0.0])}}
    kept = trace(network, params, np.array([10.0, 1.0]))
    explanation = kept.explain("dense1", (0,))
    assert explanation.check()
    assert "∞" in explanation.text()
    json.dumps(explanation.to_json(), allow_nan=False)
    negative = trace(network, params, np.array([10.0, -10.0])).explain("dense1", (0,))
    assert negative.check()


def test_bits_are_compared_as_bits():
    assert equal_bits(0.1 + 0.2, 0.30000000000000004)
    assert not equal_bits(0.1 + 0.2, 0.3)


# ---- forms ---------------------------------------------------------------------------------------------------


class Balanced(HTMLParser):
    """Checks that every tag is closed, and collects the elements that load something."""

    def __init__(self):
        super().__init__()
        self.open, self.loading, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in ("br", "mspace"):
            self.open.append(tag)
        self.loading += [name for name, _ in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_html_is_balanced_and_loads_nothing(kept):
    for explanation in (
        kept.explain("conv1", (0, 2, 3)),
        kept.explain_gradient("conv1.bias", (0,)),
        kept.explain_loss(),
    ):
        page = Balanced()
        page.feed(explanation._repr_html_())
        assert page.open == []
        assert page.loading == []
        assert explanation.subject.label() in "".join(page.text)


def test_names_are_escaped_in_html_and_latex():
    layer = "<b>&x_1"
    network = Sequential(Dense(1, name=layer), input_shape=(1,))
    kept = trace(network, network.initialize(1), np.ones(1))
    explanation = kept.explain(layer, (0,))
    assert "<b>&x" not in explanation.html()
    assert "&lt;b&gt;&amp;x_1" in explanation.html()
    assert r"\text{<b>\&x\_1[0]}" in explanation.markdown()


def test_markdown_has_the_formula_and_a_table(kept):
    text = kept.explain("conv1", (0, 2, 3)).markdown()
    assert (
        r"$$u_{\text{conv}}(k,i,j) = \sum_{c} \sum_{\mu} \sum_{\nu} F(k,c,\mu,\nu) \cdot x(c,i+\mu-1,j+\nu-1) + b(k)$$"
        in text
    )
    assert "| ---: | --- | ---: | ---: |" in text


def test_json_comes_back_with_the_same_numbers(kept):
    explanation = kept.explain("conv1", (0, 2, 3))
    data = json.loads(json.dumps(explanation.to_json(one_based=True)))
    assert data["value"] == explanation.value
    assert data["subject"]["label"] == "conv1[1,3,4]"
    assert data["subject"]["index"] == [0, 0, 2, 3]
    assert [term["value"] for term in data["terms"]] == [term.value for term in explanation.terms]
    assert data["terms"][0]["factors"][0]["reference"]["label"] == "conv1.weight[1,1,1,1]"
    assert data["exact"]
    assert data["holds"]


def test_japanese_words(kept):
    text = kept.explain("conv1", (0, 2, 3)).text(language="ja")
    assert "畳み込み層" in text
    assert "19 項をこの順に足す" in text
    assert "ビット単位で一致する" in text
    assert "最大プーリング層" in kept.explain("pool1", (0, 0, 0)).text(language="ja")


def test_both_languages_have_every_phrase_with_the_same_blanks():
    import string

    def blanks(text):
        return {name.split(":")[0] for _, name, _, _ in string.Formatter().parse(text) if name}

    assert set(ENGLISH) == set(JAPANESE)
    for key in ENGLISH:
        assert blanks(ENGLISH[key]) == blanks(JAPANESE[key]), key


def test_colour_is_only_added_on_request(kept):
    explanation = kept.explain("conv1", (0, 2, 3))
    assert "\x1b[" not in explanation.text()
    assert "\x1b[" in explanation.text(colour=True)


@pytest.mark.skipif(not native.is_built(), reason="the native kernels are not built")
def test_a_network_that_the_native_backend_trained_is_explained_by_the_reference():
    digits = load("digits").limited(100)
    run = train("small_convnet", digits, epochs=1, batch_size=20, backend="native")
    x = run.model.preprocessing.apply(digits.test.images[:1])
    kept = trace(run.model.network, run.model.parameters, x, target=3)
    assert kept["conv2"].output.dtype == np.float64
    own = run.model.program("native").forward(run.model.parameters, x, keep=True)
    for name in kept.records:
        np.testing.assert_allclose(own.values[name][0], kept[name].output, rtol=1e-4, atol=1e-4)
        at = tuple(size // 2 for size in kept[name].output.shape)
        assert kept.explain(name, at).check()
        assert kept.explain_gradient(name, at).check()


def test_notebooks_show_traces_and_networks_as_tables(kept):
    for shown, words in (
        (kept, ["conv1", "MaxPool", "2×4×5"]),
        (kept.network, ["pool1", "Convolution", "4"]),
    ):
        html = shown._repr_html_()
        page = Balanced()
        page.feed(html)
        assert page.open == []
        assert all(word in html for word in words)
    hostile = Network({"<b>": ReLU()}, (2,), name="<script>")
    assert "<script>" not in hostile._repr_html_() + trace(hostile, {}, np.ones(2))._repr_html_()


def test_a_whole_named_network_is_traced():
    network = build("simple_convnet", (1, 12, 12), 3)
    kept = trace(network, network.initialize(1), RandomKey(1).uniform("x", (1, 12, 12)), target=1)
    for name in kept.records:
        at = tuple(size // 2 for size in kept[name].output.shape)
        assert kept.explain(name, at).check()
        assert kept.explain_gradient(name, at).check()


def everything_behind(explanations):
    """Follow every reference, and theirs; return all explanations."""
    found, waiting = {}, list(explanations)
    while waiting:
        explanation = waiting.pop()
        if explanation.subject in found:
            continue
        found[explanation.subject] = explanation
        waiting += [reference.follow() for reference in explanation.references]
    return found


@pytest.mark.parametrize("training", [False, True])
def test_a_graph_is_walked_through_all_its_branches(training):
    layers = {
        "conv1": Convolution(2, 3, padding="same"),
        "norm1": BatchNormalization(),
        "relu1": ReLU(),
        "conv2": Convolution(2, 1),
        "add1": (Add(), ("conv2", "relu1")),
        "joined": (Concatenate(), ("add1", "norm1")),
        "pool1": GlobalAveragePool(),
        "dropout1": Dropout(0.3),
        "dense1": Dense(2),
    }
    network = Network(layers, (1, 3, 3))
    x = RandomKey(2).normal("x", (2, 1, 3, 3))
    kept = trace(network, network.initialize(1), x, [1, 0], training=training, key=RandomKey(5))
    found = everything_behind([kept.explain("dense1", (0, 1)), kept.explain_gradient("input", (1, 0, 1, 2))])
    assert all(explanation.check() for explanation in found.values())
    pixels = {subject.index for subject in found if (subject.kind, subject.layer) == ("value", "input")}
    assert len(pixels) == x.size
    # While training, the moments of the batch let every example act on every other.
    targets = {subject.index for subject in found if subject.kind == "target"}
    assert targets == ({(0,), (1,)} if training else {(1,)})
    assert {subject.layer for subject in found if subject.kind == "gradient"} >= {"add1", "relu1", "dense1"}


def test_a_state_is_followed_through_time_to_the_first_step():
    network = Sequential(LSTM(2), Dense(2), input_shape=(1, 4))
    kept = trace(network, network.initialize(1), RandomKey(1).normal("x", (1, 4)), target=1)
    found = everything_behind([kept.explain("lstm1", (0,))])
    assert all(explanation.check() for explanation in found.values())
    steps = {subject.index[-1] for subject in found if (subject.kind, subject.layer) == ("value", "input")}
    assert steps == {0, 1, 2, 3}


@pytest.mark.parametrize(
    "layer", [RNN(2, truncate=2), LSTM(2), GRU(2, "all", "both")], ids=["rnn", "lstm", "gru"]
)
def test_gradients_go_back_through_time_to_the_loss(layer):
    network = Sequential(layer, Flatten(), Dense(2), input_shape=(2, 4))
    name = network.nodes[0].name
    kept = trace(network, network.initialize(1), RandomKey(1).normal("x", (2, 4)), target=1)
    explanations = [kept.explain_gradient("input", (1, 0))]
    explanations += [
        kept.explain_gradient(f"{name}.{part}", (1, 0)) for part in ("input_weight", "state_weight")
    ]
    found = everything_behind(explanations)
    wrong = [str(explanation) for explanation in found.values() if not explanation.check()]
    assert wrong == []
    kinds = {subject.kind for subject in found}
    assert {"inner gradient", "gradient", "saved", "parameter", "target"} <= kinds


def test_a_number_that_is_always_the_same_is_no_pixel():
    network = Sequential(Pad(1, "constant", 2.5), input_shape=(1, 2, 2))
    explanation = trace(network, {}, np.ones((1, 2, 2))).explain("pad1", (0, 0, 0))
    assert explanation.check()
    assert not explanation.given
    assert "pixel" not in explanation.text()
    assert "2.5" in explanation.text()


def test_it_says_what_it_holds(kept):
    assert repr(kept).startswith("<Trace of network: 1 example, loss ")
