"""Faults injected into runs: each has to be told with its cause and layer; healthy runs get no finding."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from tatami.data import Dataset, load
from tatami.initializers import Constant, He, Normal, Xavier, Zeros
from tatami.layers import Convolution, Dense, Flatten, MaxPool, ReLU, Sigmoid, Tanh
from tatami.losses import SoftmaxCrossEntropy, SquaredError
from tatami.models import build
from tatami.network import Sequential
from tatami.optimizers import SGD, AdaGrad, Adam, RMSProp
from tatami.program import Program
from tatami.random import RandomKey
from tatami.training.diagnosis import STEPS_TO_MOVE, Diagnosis, Finding
from tatami.training.run import train

BATCH = 50


def digits():
    data = load("digits").train.first(600)
    return data, data.images.astype(np.float32) / 16


@dataclass
class Case:
    """A run: a network, its optimiser, and what is done to its images and labels."""

    network: Sequential
    optimizer: SGD | Adam | AdaGrad | RMSProp = field(default_factory=lambda: SGD(0.1))
    factor: float = 1.0
    offset: float = 0.0
    labels: str = "right"
    loss: object = field(default_factory=SoftmaxCrossEntropy)


def run(case, steps=20):
    """Train for some steps and return everything that was told, in order."""
    data, images = digits()
    images = images * np.float32(case.factor) + np.float32(case.offset)
    labels = data.labels
    if case.labels == "random":
        labels = RandomKey(5).permutation("labels", len(labels)) % 10
    program = Program(case.network, loss=case.loss)
    session = program.session(case.network.initialize(3), case.optimizer)
    watch = Diagnosis(program, case.optimizer.learning_rate)
    with np.errstate(all="ignore"):
        for step in range(1, steps + 1):
            some = RandomKey(1, 0, step).permutation("batch", len(labels))[:BATCH]
            key = RandomKey(1, 0, step)
            before = session.parameters
            result = session.step(images[some], labels[some], key, case.optimizer.learning_rate)
            if not np.isfinite(result.loss):
                break
            if watch.is_due(step):
                rate = case.optimizer.learning_rate
                watch.look(step, before, session.parameters, images[some], labels[some], key=key, rate=rate)
            watch.look_at_loss(step, result.loss)
    return watch.findings


HE, ZEROS = He(), Zeros()


def convnet(activation=ReLU, first=HE, second=HE, third=HE, biases=(ZEROS, ZEROS, ZEROS)):
    return Sequential(
        Convolution(8, 3, padding="same", weight_initializer=first, bias_initializer=biases[0]),
        activation(),
        Convolution(12, 3, padding="same", weight_initializer=second, bias_initializer=biases[1]),
        activation(),
        MaxPool(2),
        Flatten(),
        Dense(40, weight_initializer=third, bias_initializer=biases[2]),
        activation(),
        Dense(10),
        input_shape=(1, 8, 8),
        name="watched",
    )


def tower(activation, depth, initializer):
    layers = [Flatten()]
    for _ in range(depth):
        layers += [Dense(40, weight_initializer=initializer), activation()]
    return Sequential(*layers, Dense(10, weight_initializer=Xavier()), input_shape=(1, 8, 8), name="tower")


PERCEPTRON = lambda: build("perceptron", (1, 8, 8))  # noqa: E731
LOW = Constant(-20.0)

# name → (case, kind, layers that may be named)
FAULTS = {
    "sgd 100 times too fast": (lambda: Case(convnet(), SGD(20.0)), "rate too high", None),
    "momentum 100 times too fast": (lambda: Case(convnet(), SGD(10.0, momentum=0.9)), "rate too high", None),
    "adam 1000 times too fast": (lambda: Case(convnet(), Adam(2.0)), "rate too high", None),
    "rmsprop too fast": (lambda: Case(convnet(), RMSProp(1.0)), "rate too high", None),
    "adagrad too fast": (lambda: Case(convnet(), AdaGrad(5.0)), "rate too high", None),
    "perceptron too fast": (lambda: Case(PERCEPTRON(), SGD(500.0)), "rate too high", {"dense1"}),
    "tanh too fast": (
        lambda: Case(convnet(Tanh, Xavier(), Xavier(), Xavier()), SGD(50.0)),
        "rate too high",
        None,
    ),
    "sgd far too slow": (lambda: Case(convnet(), SGD(1e-6)), "rate too low", None),
    "adam far too slow": (lambda: Case(convnet(), Adam(1e-8)), "rate too low", None),
    "momentum far too slow": (lambda: Case(convnet(), SGD(1e-6, momentum=0.9)), "rate too low", None),
    "perceptron far too slow": (lambda: Case(PERCEPTRON(), SGD(1e-6)), "rate too low", {"dense1"}),
    "first filters zero": (lambda: Case(convnet(first=Zeros())), "equal weights", {"conv1"}),
    "second filters zero": (lambda: Case(convnet(second=Zeros())), "equal weights", {"conv2"}),
    "dense weights zero": (lambda: Case(convnet(third=Zeros())), "equal weights", {"dense1"}),
    "first filters all 0.1": (lambda: Case(convnet(first=Constant(0.1))), "equal weights", {"conv1"}),
    "tanh, dense weights zero": (lambda: Case(convnet(Tanh, third=Zeros())), "equal weights", {"dense1"}),
    "pixels from 0 to 255": (lambda: Case(convnet(), factor=255.0), "unscaled input", {"input"}),
    "pixels from 0 to 65535": (lambda: Case(convnet(), factor=65535.0), "unscaled input", {"input"}),
    "an offset of 1000": (lambda: Case(convnet(), offset=1000.0), "unscaled input", {"input"}),
    "sigmoid on raw pixels": (lambda: Case(convnet(Sigmoid), factor=255.0), "unscaled input", {"input"}),
    "all images black": (lambda: Case(convnet(), factor=0.0), "constant input", {"input"}),
    "divided away": (lambda: Case(convnet(), factor=1e-8), "constant input", {"input"}),
    "ten sigmoids": (lambda: Case(tower(Sigmoid, 10, Xavier())), "vanishing gradient", {"dense1"}),
    "eight sigmoids": (lambda: Case(tower(Sigmoid, 8, Xavier())), "vanishing gradient", {"dense1"}),
    "tanh with narrow weights": (lambda: Case(tower(Tanh, 8, Normal(0.02))), "vanishing signal", None),
    "ReLU with narrow weights": (lambda: Case(tower(ReLU, 8, Normal(0.02))), "vanishing signal", None),
    "sigmoids with wide weights": (
        lambda: Case(tower(Sigmoid, 3, Normal(5.0))),
        "saturated units",
        {"sigmoid1", "sigmoid2"},
    ),
    "tanh with wide weights": (
        lambda: Case(tower(Tanh, 3, Normal(3.0))),
        "saturated units",
        {"tanh1", "tanh2"},
    ),
    "sigmoids with a low bias": (
        lambda: Case(convnet(Sigmoid, biases=(LOW, Zeros(), Zeros()))),
        "saturated units",
        {"sigmoid1"},
    ),
    "first ReLU dead": (lambda: Case(convnet(biases=(LOW, Zeros(), Zeros()))), "dead ReLUs", {"relu1"}),
    "second ReLU dead": (lambda: Case(convnet(biases=(Zeros(), LOW, Zeros()))), "dead ReLUs", {"relu2"}),
    "third ReLU dead": (lambda: Case(convnet(biases=(Zeros(), Zeros(), LOW))), "dead ReLUs", {"relu3"}),
    "first filters huge": (lambda: Case(convnet(first=Normal(500.0))), "weights too large", {"conv1"}),
    "dense weights huge": (lambda: Case(convnet(third=Normal(50.0))), "weights too large", {"dense1"}),
    "first filters tiny": (lambda: Case(convnet(first=Normal(1e-5))), "weights too small", {"conv1"}),
    "dense weights tiny": (lambda: Case(convnet(third=Normal(1e-6))), "weights too small", {"dense1"}),
}

HEALTHY = {
    "convnet": lambda: Case(convnet()),
    "convnet with momentum": lambda: Case(convnet(), SGD(0.03, momentum=0.9)),
    "convnet with adam": lambda: Case(convnet(), Adam(0.003)),
    "convnet with rmsprop": lambda: Case(convnet(), RMSProp(0.002)),
    "convnet with adagrad": lambda: Case(convnet(), AdaGrad(0.05)),
    "mlp with rmsprop": lambda: Case(build("mlp", (1, 8, 8)), RMSProp(0.003)),
    "arai with adam": lambda: Case(build("arai", (1, 8, 8)), Adam(0.003)),
    "convnet with tanh": lambda: Case(convnet(Tanh, Xavier(), Xavier(), Xavier()), SGD(0.1)),
    "convnet slowly": lambda: Case(convnet(), SGD(0.003)),
    "perceptron": lambda: Case(PERCEPTRON(), SGD(0.5)),
    "mlp": lambda: Case(build("mlp", (1, 8, 8)), SGD(0.1)),
    "arai": lambda: Case(build("arai", (1, 8, 8)), SGD(0.01, momentum=0.2)),
    "simple_convnet": lambda: Case(build("simple_convnet", (1, 8, 8)), Adam(0.001)),
    "small_convnet": lambda: Case(build("small_convnet", (1, 8, 8)), Adam(0.002)),
    "one sigmoid": lambda: Case(tower(Sigmoid, 1, Xavier()), SGD(0.5)),
    "standardised": lambda: Case(convnet(), factor=3.0, offset=-1.0),
}


def test_there_are_enough_faults():
    assert len(FAULTS) + 4 >= 30


@pytest.mark.parametrize("name", FAULTS)
def test_the_first_thing_told_is_the_cause_and_its_place(name):
    case, kind, layers = FAULTS[name]
    findings = run(case())
    assert findings, "nothing was told"
    assert findings[0].kind == kind, [str(finding) for finding in findings]
    if layers is not None:
        assert findings[0].layer in layers
    assert findings[0].step <= 16
    assert all(other.kind == kind for other in findings), [str(finding) for finding in findings]


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_gets_no_finding(name):
    findings = run(HEALTHY[name](), steps=70)
    assert not findings, [str(finding) for finding in findings]


def test_a_loss_that_does_not_move():
    findings = run(Case(build("perceptron", (1, 8, 8)), SGD(1e-3), labels="random"), steps=STEPS_TO_MOVE)
    assert [finding.kind for finding in findings] == ["loss does not move"]
    assert "no better than guessing (2.3026)" in str(findings[0])


def test_the_exercise_of_the_slides_is_healthy():
    network, loss = build("ox"), SquaredError("sum")
    images = load("ox").train.images.astype(np.float32)
    labels = np.array([0, 1])
    program = Program(network, loss=loss)
    session = program.session(network.initialize(), SGD(0.1))
    watch = Diagnosis(program, 0.1)
    for step in range(1, 200):
        before = session.parameters
        result = session.step(images, labels, RandomKey(), 0.1)
        if watch.is_due(step):
            watch.look(step, before, session.parameters, images, labels, key=RandomKey(), rate=0.1)
        watch.look_at_loss(step, result.loss)
    assert not watch.findings


# ---- the data ------------------------------------------------------------------------------------------------


def look_at(data):
    return Diagnosis(Program(build("perceptron", (1, 8, 8))), 0.1).look_at_data(data)


def test_the_digits_are_healthy():
    assert not look_at(load("digits").train)


def test_unbalanced_classes():
    data = load("digits").train
    few = np.concatenate([np.flatnonzero(data.labels != 7), np.flatnonzero(data.labels == 7)[:3]])
    (finding,) = look_at(data.take(few))
    assert finding.kind == "unbalanced classes"
    assert "class '7' has 3 images" in finding.cause


def test_duplicated_images():
    data = load("digits").train.first(200)
    (finding,) = look_at(data.take(np.tile(np.arange(200), 3)))
    assert finding.kind == "duplicated images"
    assert "67 % of the images are copies" in finding.cause


def test_contradicting_labels():
    data = load("digits").train.first(100)
    other = replace(
        data.take(np.tile(np.arange(100), 2)), labels=np.concatenate([data.labels, (data.labels + 1) % 10])
    )
    (finding,) = look_at(other)
    assert finding.kind == "contradicting labels"
    assert "image 100, the same as image 0" in finding.cause


def test_a_finding_names_step_layer_tensor_cause_and_remedy():
    finding = Finding("dead ReLUs", 8, "relu2", "output", "95 % of the units are 0", "Use He()")
    assert str(finding) == "step 8, relu2 (output): 95 % of the units are 0. Use He()"
    assert str(replace(finding, step=0)).startswith("before training, ")


def test_a_toy_data_set_is_not_judged():
    images = np.zeros((4, 1, 8, 8), np.uint8)
    assert not look_at(Dataset("toy", images, np.array([0, 1, 0, 0]), ("a", "b")))


class Told:
    """A progress that remembers the notes."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)

    def begin(self, **counts):
        pass

    def step(self, *what):
        pass

    def epoch(self, record):
        pass

    def end(self):
        pass


def trained(network, notes, **settings):
    return train(network, load("digits").train.first(600), progress=notes, batch_size=BATCH, **settings)


def test_training_tells_what_it_found():
    notes = Told()
    trained(convnet(biases=(ZEROS, LOW, ZEROS)), notes, epochs=2, optimizer=SGD(0.05))
    assert len(notes.notes) == 1
    assert notes.notes[0].startswith("step 1, relu2 (output): 100 % of the units are 0 for every image")


def test_training_has_nothing_to_tell_in_a_healthy_run():
    notes = Told()
    trained(convnet(), notes, epochs=2, optimizer=SGD(0.05))
    assert notes.notes == []


def test_mini_batches_of_a_few_images_are_not_judged_by_their_silent_units():
    notes = Told()
    network = convnet(biases=(ZEROS, Constant(-2.0), ZEROS))
    train(
        network, load("digits").train.first(60), progress=notes, batch_size=2, epochs=1, optimizer=SGD(0.01)
    )
    assert not any("dead" in note or "units are 0" in note for note in notes.notes)


def test_looking_changes_no_bit(monkeypatch):
    watched = trained("simple_convnet", Told(), epochs=2, optimizer=SGD(0.05))
    monkeypatch.setattr(Diagnosis, "is_due", lambda self, step: False)
    unwatched = trained("simple_convnet", Told(), epochs=2, optimizer=SGD(0.05))
    assert watched.weights_sha256 == unwatched.weights_sha256
