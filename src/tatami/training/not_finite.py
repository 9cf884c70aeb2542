"""Find where NaN or infinity first appeared, when a run has met it.

Training itself keeps no intermediates and looks only at the loss, which costs nothing. When that is not finite any
more, the last steps are done again from a snapshot, which gives the same bits, and the step where it began is looked
at with everything kept.
"""

from collections.abc import Callable, Iterable

import numpy as np

from tatami.errors import NotFiniteError
from tatami.program import Program, TrainingSession, first_not_finite
from tatami.training.checkpoint import Checkpoint, first_not_finite_array
from tatami.training.plan import PlannedStep

REMEDY = (
    "Most often the learning rate is too high: try --lr at a third of it, or --clip 1. "
    "Data of very different sizes: try --preprocessing standardise"
)


def find_first_not_finite(
    program: Program,
    good: Checkpoint,
    start: Callable[[Checkpoint], TrainingSession],
    steps: Iterable[PlannedStep],
) -> NotFiniteError:
    """Do the steps after a good moment again until one is not finite, and return the error that names the place.

    Args:
        program: the network's program.
        good: the last moment that is known to be finite.
        start: makes a session from a checkpoint.
        steps: those after that moment.
    """
    session = start(good)
    for planned in steps:
        parameters, state = session.parameters, session.state
        result = session.step(planned.images, planned.targets, planned.key, planned.learning_rate)
        broken = first_not_finite_array(session.parameters, session.state, session.optimizer_state)
        if np.isfinite(result.loss) and broken is None:
            continue
        step = program.train_step(
            parameters, planned.images, planned.targets, key=planned.key, state=state, keep=True
        )
        place = first_not_finite(step) or (f"the update of {broken}" if broken else "the loss")
        return NotFiniteError(
            f"NaN or infinity first appears in {place}, in epoch {planned.key.epoch + 1}, "
            f"step {planned.after.step}. {REMEDY}"
        )
    return NotFiniteError(f"a weight became NaN or infinite, but the last steps done again did not. {REMEDY}")
