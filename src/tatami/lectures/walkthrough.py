"""What a walkthrough is: steps of prose, formulas, numbers computed here and now, and notes where a lecture errs.

A number that a lecture prints is compared with the computed one, digit by digit as far as it is printed. Where they
differ, the step names the erratum that says why; the tests hold both to it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tatami.errors import SettingError
from tatami.inspect.phrases import (
    LANGUAGES as LANGUAGES,
    Language as Language,
    Text as Text,
    same as same,
)

MOST_UPDATES = 200
MOST_SEEDS = 20


@dataclass(frozen=True)
class Printed:
    """What a lecture prints: the numbers, to how many decimals, and whether it cut off the rest or rounded."""

    values: NDArray[np.float64]
    decimals: int
    cut_off: bool = False

    def agrees_with(self, computed: NDArray[np.float64]) -> bool:
        """Say whether numbers round (or are cut off) to the printed ones."""
        if computed.shape != self.values.shape:
            return False
        if self.cut_off:
            scale = 10.0**self.decimals
            return bool(np.array_equal(np.trunc(computed * scale), np.round(self.values * scale)))
        tolerance = 0.5 * 10.0**-self.decimals * (1 + 1e-6)
        return bool(np.all(np.abs(computed - self.values) <= tolerance))


def printed(values: ArrayLike, decimals: int = 0, *, cut_off: bool = False) -> Printed:
    """Return what a lecture prints, to so many decimals.

    >>> printed([0.9820], 4).agrees_with(np.array([0.98201]))
    True
    """
    return Printed(np.asarray(values, dtype=np.float64), decimals, cut_off)


@dataclass(frozen=True)
class Number:
    """A line of a table: what it is, what we compute, what the lecture prints.

    Args:
        key: under which tests and `Lecture.numbers` find the value.
        label: what it is.
        value: a number or a few in a row.
        lecture: what the lecture prints, if it does.
        decimals: how many decimals of the value are shown.
        erratum: code of the erratum that says why both differ, if they do.
    """

    key: str
    label: Text
    value: Any
    lecture: Printed | None = None
    decimals: int = 4
    erratum: str = ""

    @property
    def array(self) -> NDArray[np.float64]:
        """The computed value as an array."""
        return np.asarray(self.value, dtype=np.float64)

    @property
    def agrees(self) -> bool | None:
        """Whether the lecture's number is ours; None where the lecture prints none."""
        return None if self.lecture is None else self.lecture.agrees_with(self.array)


@dataclass(frozen=True)
class Numbers:
    """Numbers below one another, with the lecture's beside them."""

    rows: tuple[Number, ...]


@dataclass(frozen=True)
class Grid:
    """A matrix with a name above it; ``marked`` entries stand out."""

    key: str
    name: str
    value: Any
    lecture: Printed | None = None
    decimals: int = 4
    marked: tuple[tuple[int, int], ...] = ()
    erratum: str = ""

    @property
    def array(self) -> NDArray[np.float64]:
        """The matrix; a vector is a matrix of one row."""
        values = np.asarray(self.value, dtype=np.float64)
        return values[np.newaxis] if values.ndim == 1 else values

    @property
    def shown(self) -> NDArray[np.float64]:
        """The matrix as it is shown: what only rounding has left beside a 0 is a 0."""
        values = self.array
        rest = 1e-14 * float(np.abs(values).max(initial=0.0))
        return np.where(np.abs(values) < rest, 0.0, values)

    @property
    def agrees(self) -> bool | None:
        """Whether the lecture's matrix is ours; None where the lecture prints none."""
        return None if self.lecture is None else self.lecture.agrees_with(np.asarray(self.value, np.float64))


@dataclass(frozen=True)
class Grids:
    """Matrices side by side with signs between them: X ⋆ F = Y."""

    items: tuple[Grid | str, ...]


@dataclass(frozen=True)
class Table:
    """A table of words and numbers that are ready to be shown; the first ``left`` columns are words."""

    header: tuple[Text, ...]
    rows: tuple[tuple[Text | str, ...], ...]
    left: int = 1


@dataclass(frozen=True)
class Worked:
    """Formulas with the numbers put in, in LaTeX."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Series:
    """A line of a plot; faint ones, such as contour lines, lie in the background."""

    name: Text
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    faint: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Plot:
    """Lines over axes."""

    title: Text
    series: tuple[Series, ...]
    x_label: Text
    y_label: Text
    logarithmic: bool = False
    y_range: tuple[float, float] | None = None
    x_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Histograms:
    """A grid of histograms over one range: ``shares[row][column]`` are the shares of the bins."""

    title: Text
    rows: tuple[Text, ...]
    columns: tuple[Text, ...]
    shares: tuple[tuple[NDArray[np.float64], ...], ...]
    low: float
    high: float


@dataclass(frozen=True)
class Pictures:
    """Grey pictures with captions, dark at the smallest value of each and light at its largest."""

    items: tuple[tuple[Text, NDArray[np.float64]], ...]


Block: TypeAlias = Numbers | Grids | Table | Worked | Plot | Histograms | Pictures


@dataclass(frozen=True)
class Erratum:
    """A place where a lecture is wrong or contradicts itself.

    Args:
        code: such as 'DSP-a'; tests enumerate them.
        where: the place in the lecture.
        says: what the lecture says there.
        right: what is right.
        why: the derivation, or how one sees it.
        formulas: of the derivation, in LaTeX.
        evidence: numbers that show it, computed like all others.
    """

    code: str
    where: Text
    says: Text
    right: Text
    why: Text
    formulas: tuple[str, ...] = ()
    evidence: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Step:
    """One step of a walkthrough: a title, what to see, formulas, numbers, and errata."""

    title: Text
    prose: Text
    formulas: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()
    errata: tuple[Erratum, ...] = ()

    def all_blocks(self) -> Iterator[Block]:
        """Yield the step's blocks and those of its errata."""
        yield from self.blocks
        for erratum in self.errata:
            yield from erratum.evidence

    def comparables(self) -> Iterator[Number | Grid]:
        """Yield everything that has a key."""
        for block in self.all_blocks():
            if isinstance(block, Numbers):
                yield from block.rows
            elif isinstance(block, Grids):
                yield from (item for item in block.items if isinstance(item, Grid))


# Computes a step; walkthroughs hand out these, so that a reader of one step does not wait for the others.
MakeStep = Callable[[], Step]


class Steps(Sequence[Step]):
    """The steps of a walkthrough, each computed when it is first read.

    >>> steps = Steps([lambda: 1 / 0, lambda: Step(same("two"), same("prose"))])
    >>> len(steps), steps[1].title.en
    (2, 'two')
    """

    def __init__(self, makers: Iterable[MakeStep]) -> None:
        """Take what computes the steps."""
        self.makers = tuple(makers)
        self.made: dict[int, Step] = {}

    def __len__(self) -> int:
        """Return how many steps there are, computed or not."""
        return len(self.makers)

    @overload
    def __getitem__(self, at: int) -> Step: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Step]: ...

    def __getitem__(self, at: int | slice) -> Step | Sequence[Step]:
        """Return a step, or several."""
        numbers = range(len(self.makers))[at]
        if isinstance(numbers, range):
            return [self[number] for number in numbers]
        if numbers not in self.made:
            self.made[numbers] = self.makers[numbers]()
        return self.made[numbers]


@dataclass(frozen=True)
class Lecture:
    """A walkthrough; its steps are computed when they are read."""

    name: str
    title: Text
    source: Text
    steps: Sequence[Step]

    @property
    def numbers(self) -> dict[str, NDArray[np.float64]]:
        """Every computed number by its key."""
        found: dict[str, NDArray[np.float64]] = {}
        for step in self.steps:
            for entry in step.comparables():
                if entry.key in found:
                    raise SettingError(f"lecture {self.name}: two numbers have the key {entry.key!r}")
                found[entry.key] = np.asarray(entry.value, dtype=np.float64)
        return found

    @property
    def errata(self) -> tuple[Erratum, ...]:
        """Every erratum that the walkthrough shows."""
        return tuple(erratum for step in self.steps for erratum in step.errata)


@dataclass(frozen=True)
class Request:
    """What a reader may ask of a walkthrough.

    Args:
        seed: of everything random.
        updates: how many updates the ○× exercise shows one by one.
        data_folder: where the files of MNIST lie; without it the digits of the package are used.
        seeds: how many trainings of each kind the comparison of augmentations makes; None as many as are quick here.
    """

    seed: int = 0
    updates: int = 1
    data_folder: Path | None = field(default=None)
    seeds: int | None = None

    def __post_init__(self) -> None:
        """Check the number of updates."""
        if not 1 <= self.updates <= MOST_UPDATES:
            raise SettingError(f"--updates: expected 1 to {MOST_UPDATES}, got {self.updates}")
        if self.seeds is not None and not 1 <= self.seeds <= MOST_SEEDS:
            raise SettingError(f"--seeds: expected 1 to {MOST_SEEDS}, got {self.seeds}")
