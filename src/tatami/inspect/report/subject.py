"""What a report is about: a run, its model, and what the model does with the test images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.data import Dataset
from tatami.errors import SettingError
from tatami.inspect.colours import as_image
from tatami.inspect.filter_growth import FilterGrowth, chosen_growth, recorded_layers
from tatami.inspect.grids import picture
from tatami.inspect.phrases import Language, Text
from tatami.losses import SoftmaxCrossEntropy
from tatami.network import Network, Parameters
from tatami.training.checkpoint import Checkpoint, load_checkpoint
from tatami.training.evaluation import Evaluation, TaskEvaluation
from tatami.training.growth import Growth
from tatami.training.model import Model, load_model
from tatami.training.run_folder import RunFolder

# Images that histograms, dead units and most exciting images are taken from.
MOST_IMAGES = 600
SHOWN_RIGHT, SHOWN_WRONG = 4, 2
LAYERS_GROWN, FILTERS_GROWN = 4, 8


@dataclass(frozen=True)
class Subject:
    """Everything that the sections of a report draw from.

    Attributes:
        folder: the run's folder.
        model: what the run ended with.
        checkpoint: the end of the run, with history and settings.
        test: the images to test on, raw.
        evaluation: the model measured on them.
        language: of the words on the page.
        filters: whose growth is shown, such as 'conv2[5,17]'; by default those that the run was told to watch, or some
            of the first layers.
    """

    folder: Path
    model: Model
    checkpoint: Checkpoint
    test: Dataset
    evaluation: Evaluation | TaskEvaluation
    language: Language = "en"
    filters: tuple[str, ...] = ()

    @classmethod
    def of_run(
        cls, path: Path, test: Dataset, language: Language = "en", filters: Sequence[str] = ()
    ) -> "Subject":
        """Open a run and measure its model on the test images.

        Raises:
            CheckpointError: there is no run, or it has no checkpoint that can be used.
            ShapeError, DataError: other images than the model takes.
        """
        folder = RunFolder.open(path)
        model = load_model(folder.path)
        last = folder.last if folder.last.exists() else folder.model_file()
        return cls(
            folder.path, model, load_checkpoint(last), test, model.measure(test), language, tuple(filters)
        )

    def say(self, english: str, japanese: str) -> str:
        """Return what is said in the language of the page."""
        return Text(english, japanese).read(self.language)

    @property
    def judged(self) -> Evaluation:
        """The model measured on classes, for what is shown of classifiers only."""
        if not isinstance(self.evaluation, Evaluation):
            raise SettingError(f"the run was trained to {self.evaluation.task}, not to tell classes apart")
        return self.evaluation

    @property
    def network(self) -> Network:
        """The network."""
        return self.model.network

    @property
    def parameters(self) -> Parameters:
        """What it has learned."""
        return self.model.parameters

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.model.class_names

    @cached_property
    def growth(self) -> Growth:
        """How the network grew, empty for runs that recorded nothing."""
        return Growth.load(RunFolder(self.folder).growth_file)

    def grown_filters(self) -> list[FilterGrowth]:
        """Return the filters whose growth is shown."""
        asked = self.filters or self.checkpoint.settings.watch
        if asked:
            return [chosen_growth(self.growth, self.network, text) for text in asked]
        layers = recorded_layers(self.growth, self.network)[:LAYERS_GROWN]
        return [chosen_growth(self.growth, self.network, layer).first(FILTERS_GROWN) for layer in layers]

    @property
    def as_ink(self) -> bool:
        """Whether the images are light strokes on a dark ground, which are drawn like ink on paper."""
        return self.test.format.background == "dark"

    @property
    def gives_probabilities(self) -> bool:
        """Whether the outputs are probabilities."""
        return isinstance(self.model.loss, SoftmaxCrossEntropy)

    def seen(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Return some of the test images as the network sees them."""
        return self.model.preprocessing.apply(self.test.images[numbers], "float32")

    @cached_property
    def sample(self) -> NDArray[np.int64]:
        """Numbers of the test images that statistics are taken from, evenly spread."""
        count = min(len(self.test), MOST_IMAGES)
        return np.unique(np.linspace(0, len(self.test) - 1, count).round().astype(np.int64))

    @cached_property
    def sampled(self) -> NDArray[Any]:
        """Those images, as the network sees them."""
        return self.seen(self.sample)

    @cached_property
    def shown(self) -> list[int]:
        """Numbers of the test images that are looked at closely: the worst mistakes, and one of each first class."""
        right = self.judged.predicted == self.judged.labels
        wrong = [int(number) for number in self.judged.worst(SHOWN_WRONG) if not right[number]]
        chosen: list[int] = []
        for label in range(len(self.class_names)):
            of_class = np.flatnonzero(right & (self.judged.labels == label))
            if len(of_class) and len(chosen) < SHOWN_RIGHT:
                chosen.append(int(of_class[0]))
        return [*chosen, *wrong] or [0]

    def picture_of(self, number: int) -> NDArray[np.uint8]:
        """Return the pixels of a test image, as the data set means them."""
        limits = (min(0.0, float(self.test.images[number].min())), self.test.format.maximum)
        return as_image(picture(self.test.images[number]), as_ink=self.as_ink, limits=limits)

    def image_name(self, number: int) -> str:
        """Return what a test image is called."""
        return self.say(f"Test image {number}", f"テスト画像 {number}")

    def caption(self, number: int) -> str:
        """Say what an image is and what the model saw."""
        true = self.class_names[self.judged.labels[number]]
        seen = self.class_names[self.judged.predicted[number]]
        certainty = float(self.judged.probabilities[number].max())
        percent = f"{100 * certainty:.0f} %"
        sure = self.say(f", {percent} sure", f"、確信度 {percent}") if self.gives_probabilities else ""
        mistaken = self.say(f", seen as {seen}", f" を {seen} と判断")
        return f"{true}{mistaken if true != seen else ''}{sure}"
