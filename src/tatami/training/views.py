"""Test-time augmentation: a model looks at several views of every image, and the mean of what it sees counts."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.data import Dataset
from tatami.data.augmentation import Pipeline
from tatami.data.augmentation.views import views
from tatami.program import Program
from tatami.training.evaluation import Evaluation
from tatami.training.model import Model

VIEWS = 8


def evaluate_views(
    model: Model, dataset: Dataset, pipeline: Pipeline, count: int = VIEWS, program: Program | None = None
) -> Evaluation:
    """Measure a model on labelled images: probabilities and loss are means over the views.

    Args:
        model: a trained model.
        dataset: raw images with labels.
        pipeline: how views differ; the first one is the image itself.
        count: number of views.
        program: the model's network, planned.
    """
    planned = program or model.program()
    seen = [model.evaluate(view, planned) for view in views(dataset, pipeline, count)]
    mean = np.mean([evaluation.probabilities for evaluation in seen], axis=0)
    return replace(seen[0], loss=float(np.mean([evaluation.loss for evaluation in seen])), probabilities=mean)


def predict_views(
    model: Model, images: NDArray[Any], pipeline: Pipeline, count: int = VIEWS, program: Program | None = None
) -> NDArray[Any]:
    """Return the mean of the probabilities (N, classes) over the views of raw images."""
    planned = program or model.program()
    labels = np.zeros(len(images), np.int64)
    dataset = Dataset("images", images, labels, model.class_names, model.preprocessing.format)
    seen = [model.predict(view.images, planned) for view in views(dataset, pipeline, count)]
    return np.asarray(np.mean(seen, axis=0))
