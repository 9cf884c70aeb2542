"""A training session: parameters, optimiser state and layer state that move forward one batch at a time.

The training loop talks to sessions only. On the reference backend a session is a few lines around `Program.train_step`
and the optimiser; a native session keeps everything in one arena and runs the whole step in one call.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from tatami.network import Parameters
from tatami.optimizers import Optimizer, OptimizerState, clip_gradients
from tatami.random import RandomKey

if TYPE_CHECKING:
    from tatami.program import Program


@dataclass(frozen=True)
class StepResult:
    """What the training loop needs to know of a step: the loss and the outputs (N, …), for metrics."""

    loss: float
    output: NDArray[Any]


class TrainingSession(Protocol):
    """What every backend's session offers."""

    @property
    def parameters(self) -> Parameters:
        """The parameters after the last step, as NumPy arrays."""
        ...

    @property
    def optimizer_state(self) -> OptimizerState:
        """The optimiser's state after the last step."""
        ...

    @property
    def state(self) -> Parameters:
        """The layers' state after the last step."""
        ...

    def step(self, x: NDArray[Any], target: NDArray[Any], key: RandomKey, learning_rate: float) -> StepResult:
        """Train on one batch."""
        ...


class LayerwiseSession:
    """Forward, backward, clipping and update, one after the other."""

    def __init__(
        self,
        program: "Program",
        parameters: Parameters,
        optimizer: Optimizer,
        optimizer_state: OptimizerState | None,
        state: Parameters | None,
        clip_norm: float | None,
    ) -> None:
        """Start from the given parameters; optimiser and layer state start fresh unless given."""
        self.program = program
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        self.parameters = parameters
        self.optimizer_state = (
            optimizer.initialize(parameters) if optimizer_state is None else optimizer_state
        )
        self.state = program.initial_state() if state is None else state

    def step(self, x: NDArray[Any], target: NDArray[Any], key: RandomKey, learning_rate: float) -> StepResult:
        """Train on one batch."""
        step = self.program.train_step(self.parameters, x, target, key=key, state=self.state)
        gradients = (
            step.gradients if self.clip_norm is None else clip_gradients(step.gradients, self.clip_norm)
        )
        self.parameters, self.optimizer_state = self.optimizer.update(
            self.parameters, gradients, self.optimizer_state, learning_rate
        )
        self.state = step.state
        return StepResult(step.loss, step.output)
