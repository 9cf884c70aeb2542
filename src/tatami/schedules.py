"""Learning-rate schedules: pure functions of the number of updates made, so that a resumed run goes on exactly.

A schedule returns the factor that multiplies the optimiser's learning rate.
"""

from dataclasses import dataclass, field
from math import cos, pi

from tatami.description import Described
from tatami.errors import SettingError


@dataclass(frozen=True)
class Schedule(Described, family="schedule", abstract=True):
    """Base of the schedules."""

    def factor(self, step: int, total_steps: int) -> float:
        """Return the factor for the update number ``step`` (from 0) of a run of ``total_steps`` updates."""
        raise NotImplementedError


@dataclass(frozen=True)
class ConstantRate(Schedule):
    """The same rate throughout."""

    def factor(self, step: int, total_steps: int) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True)
class StepDecay(Schedule):
    """Multiply the rate by ``decay`` each time another ``every`` of the run has passed.

    Args:
        every: fraction of the run between two decays, from 1e-6 to 1.
        decay: the factor, above 0 and at most 1.

    >>> [StepDecay(every=0.5, decay=0.1).factor(step, 10) for step in (0, 4, 5)]
    [1.0, 1.0, 0.1]
    """

    every: float = 1 / 3
    decay: float = 0.1

    def __post_init__(self) -> None:
        """Check both numbers."""
        super().__post_init__()
        if not 1e-6 <= self.every <= 1 or not 0 < self.decay <= 1:
            raise SettingError(
                f"StepDecay: every must be from 1e-6 to 1 and decay above 0 and at most 1, "
                f"got {self.every} and {self.decay}"
            )

    def factor(self, step: int, total_steps: int) -> float:
        """Return decay^⌊progress / every⌋."""
        # The quotient may fall a rounding short of a whole number (0.3 / 0.1 does), so a little is added.
        return float(self.decay ** int(step / max(total_steps, 1) / self.every + 1e-9))


@dataclass(frozen=True)
class Cosine(Schedule):
    """Fall from 1 to ``lowest`` along half a cosine wave (Loshchilov and Hutter, 2017, without restarts).

    >>> Cosine().factor(50, 100)
    0.5
    """

    lowest: float = 0.0

    def __post_init__(self) -> None:
        """Check the end value."""
        super().__post_init__()
        if not 0 <= self.lowest <= 1:
            raise SettingError(f"Cosine: lowest must be between 0 and 1, got {self.lowest}")

    def factor(self, step: int, total_steps: int) -> float:
        """Return lowest + (1 - lowest)·½·(1 + cos(π·progress))."""
        progress = min(step / max(total_steps, 1), 1.0)
        return self.lowest + (1 - self.lowest) * 0.5 * (1 + cos(pi * progress))


@dataclass(frozen=True)
class WarmUp(Schedule):
    """Rise linearly over the first ``fraction`` of the run, then follow another schedule (Goyal et al., 2017).

    >>> [WarmUp(0.5).factor(step, 8) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    fraction: float = 0.1
    after: Schedule = field(default_factory=ConstantRate)

    def __post_init__(self) -> None:
        """Check the fraction."""
        super().__post_init__()
        if not 0 <= self.fraction < 1:
            raise SettingError(f"WarmUp: fraction must be at least 0 and below 1, got {self.fraction}")

    def factor(self, step: int, total_steps: int) -> float:
        """Return (step + 1) / warm-up steps, then the other schedule's factor of the rest."""
        rising = round(self.fraction * total_steps)
        if step < rising:
            return (step + 1) / rising
        return self.after.factor(step - rising, total_steps - rising)


SCHEDULES: dict[str, Schedule] = {
    "constant": ConstantRate(),
    "step": StepDecay(),
    "cosine": Cosine(),
    "warmup": WarmUp(),
    "warmup-cosine": WarmUp(after=Cosine()),
}
