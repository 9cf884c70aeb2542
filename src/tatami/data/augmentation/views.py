"""Test-time augmentation: several views of the same images, whose predictions are averaged."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tatami.data.augmentation.pipeline import Pipeline
from tatami.data.dataset import Dataset
from tatami.data.on_demand import OnDemand
from tatami.errors import SettingError


class AugmentedImages(OnDemand):
    """The images of a data set after a pipeline, made when they are asked for."""

    def __init__(self, dataset: Dataset, pipeline: Pipeline, seed: int, epoch: int) -> None:
        """Remember how to make them."""
        self.dataset, self.pipeline, self.seed, self.epoch = dataset, pipeline, seed, epoch
        self.shape = (len(dataset), *dataset.image_shape)
        self.dtype = np.dtype(np.float32)

    def read(self, at: NDArray[np.int64]) -> NDArray[Any]:
        """Make some of them."""
        return self.pipeline.apply(self.dataset, at, self.seed, self.epoch).images


def views(dataset: Dataset, pipeline: Pipeline, count: int, seed: int = 0) -> Iterator[Dataset]:
    """Yield a data set as it is, and count - 1 times as the pipeline varies it.

    Raises:
        SettingError: fewer than two views, or a pipeline that mixes images of different classes.
    """
    if count < 2:
        raise SettingError(f"test-time augmentation needs at least 2 views, got {count}")
    if pipeline.mixes:
        raise SettingError(
            "test-time augmentation: a pipeline that mixes images says nothing about one image"
        )
    yield dataset
    for epoch in range(count - 1):
        yield replace(dataset, images=cast(NDArray[Any], AugmentedImages(dataset, pipeline, seed, epoch)))
