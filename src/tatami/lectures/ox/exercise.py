"""The exercise run by the library: one training step on three ○ and three ×, everything kept."""

import numpy as np
from numpy.typing import NDArray

from tatami.inspect.trace import trace
from tatami.lectures.ox import slides
from tatami.lectures.walkthrough import (
    Text,
)
from tatami.losses import SquaredError
from tatami.models import build
from tatami.network import Parameters
from tatami.optimizers import SGD
from tatami.program import Program
from tatami.program.results import Step as Pass

LABELS = np.array([0, 0, 0, 1, 1, 1])
CIRCLE, CROSS = 0, 3

ON_CIRCLE = Text("on ○", "○のとき")
ON_CROSS = Text("on ×", "×のとき")


class Exercise:
    """One training step of the library on three ○ and three ×, everything kept."""

    def __init__(self) -> None:
        """Run the step in float64."""
        self.program = Program(build("ox"), SquaredError("sum"), precision="f64")
        self.parameters = self.program.network.initialize(dtype="float64")
        self.images = slides.THREE_OF_EACH[:, np.newaxis]
        self.step: Pass = self.program.train_step(self.parameters, self.images, LABELS, keep=True)
        self.trace = trace(
            self.program.network, self.parameters, slides.CIRCLE[np.newaxis], 0, SquaredError("sum")
        )
        optimizer = SGD(slides.RATE)
        self.updated, _ = optimizer.update(
            self.parameters, self.step.gradients, optimizer.initialize(self.parameters)
        )

    def value(self, layer: str, image: int) -> NDArray[np.float64]:
        """Return a layer's output for one image."""
        return np.asarray(self.step.values[layer][image])

    def delta(self, layer: str, image: int) -> NDArray[np.float64]:
        """Return the gradient of the cost with respect to a layer's output for one image."""
        return np.asarray(self.step.value_gradients[layer][image])

    def cost_of(self, parameters: Parameters, image: int) -> float:
        """Return the cost of one image."""
        only = slice(image, image + 1)
        return self.program.train_step(parameters, self.images[only], LABELS[only]).loss
