"""Data: where images come from, how they are divided, preprocessed and put into mini-batches."""

from tatami.data.batches import Batch, Batches
from tatami.data.dataset import Dataset, DatasetSplits, ImageFormat
from tatami.data.digits import load_digits
from tatami.data.fitting import fit_preprocessing
from tatami.data.idx import read_idx, write_idx
from tatami.data.image_files import read_images
from tatami.data.image_folder import load_image_folder
from tatami.data.katakana import Handwriting, load_katakana
from tatami.data.mnist import load_mnist
from tatami.data.preprocessing import (
    MinMax,
    Preprocessing,
    Scale,
    Standardise,
    Unchanged,
)
from tatami.data.sources import load, load_ox
from tatami.data.splits import split_off_test, split_off_validation
from tatami.data.whitening import PCAWhitening, ZCAWhitening

__all__ = [
    "Batch",
    "Batches",
    "Dataset",
    "DatasetSplits",
    "Handwriting",
    "ImageFormat",
    "MinMax",
    "PCAWhitening",
    "Preprocessing",
    "Scale",
    "Standardise",
    "Unchanged",
    "ZCAWhitening",
    "fit_preprocessing",
    "load",
    "load_digits",
    "load_image_folder",
    "load_katakana",
    "load_mnist",
    "load_ox",
    "read_idx",
    "read_images",
    "split_off_test",
    "split_off_validation",
    "write_idx",
]
