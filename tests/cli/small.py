"""A run small enough to train in a blink, large enough to learn something."""

SMALL = (
    *("--network", "perceptron", "--limit", "200", "--epochs", "3"),
    *("--batch-size", "20", "--optimizer", "sgd", "--lr", "0.5"),
)
