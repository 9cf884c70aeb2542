"""Examples from files for any model: images, arrays, numbers in a table, signals."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.data import read_images
from tatami.data.files import IMAGE_NAMES
from tatami.data.npz import read_arrays
from tatami.data.numbers import PART, columns_and_rows, number_in
from tatami.data.sound import read_wav
from tatami.errors import DataError, SettingError, ShapeError
from tatami.geometry import Shape
from tatami.layers import PaddingMask
from tatami.training.model import Model

ARRAYS = (".npy", ".npz", ".csv", ".wav")


def read_examples(
    paths: Sequence[Path], model: Model, invert: str | bool = "auto"
) -> tuple[list[str], NDArray[Any]]:
    """Read files as raw examples of a model; a file of arrays or rows may hold several.

    Sequences that are shorter than what the model reads are filled up behind their end, if it was built to see where
    they end.

    Raises:
        DataError, ShapeError: a file that cannot be read, or examples of another shape.
    """
    names: list[str] = []
    pieces: list[NDArray[Any]] = []
    for path in paths:
        if path.suffix.lower() not in ARRAYS:
            pieces.append(
                read_images([path], model.network.input_shape, model.preprocessing.format, invert=invert)
            )
            names.append(str(path))
            continue
        examples = [filled(path, example, model) for example in examples_in(path, model)]
        names += (
            [str(path)] if len(examples) == 1 else [f"{path}[{number}]" for number in range(len(examples))]
        )
        pieces.append(np.stack(examples))
    return names, np.concatenate(pieces)


def examples_in(path: Path, model: Model) -> list[NDArray[Any]]:
    """Return the examples of a file that is no image."""
    suffix, shape = path.suffix.lower(), model.network.input_shape
    if suffix == ".wav":
        return [read_wav(path).samples]
    if suffix == ".csv":
        return rows_in(path, model)
    if suffix == ".npz":
        arrays = read_arrays(path)
        found = next((arrays[name] for name in IMAGE_NAMES if name in arrays), None)
        if found is None:
            raise DataError(
                f"{path}: expected the array x (or images), it holds {', '.join(arrays) or 'none'}"
            )
    else:
        found = read_array(path)
    if found.dtype.kind not in "uif" or found.size == 0:
        raise DataError(f"{path}: expected numbers, got {found.dtype} {found.shape}")
    if found.ndim == len(shape):
        return [found]
    if found.ndim == len(shape) + 1:
        return list(found)
    if found.ndim == len(shape) - 1 and shape[0] == 1:
        return [found[None]]
    raise ShapeError(f"{path}: has the shape {found.shape}, the model takes examples of shape {shape}")


def read_array(path: Path) -> NDArray[Any]:
    """Read a plain .npy file; nothing is unpickled."""
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except Exception as error:  # whatever a crafted header provokes in NumPy's reader
        raise DataError(f"{path}: not a plain .npy array, or a damaged one ({error})") from error


def rows_in(path: Path, model: Model) -> list[NDArray[Any]]:
    """Return the rows of a table: each an example, or for a model of sequences each a step of one.

    Columns with the names of the model's outputs, and the column 'part', are left out.
    """
    header, rows = columns_and_rows(path)
    names = [name for name in header if name not in model.class_names and name != PART]
    values = np.array(
        [[number_in(path, row, name, line) for name in names] for line, row in enumerate(rows, 2)]
    )
    shape = model.network.input_shape
    if len(shape) == 1:
        return list(values.astype(np.float32))
    if len(shape) == 2:
        return [values.T.astype(np.float32)]
    raise ShapeError(f"{path}: a table gives rows or sequences, the model takes examples of shape {shape}")


def filled(path: Path, example: NDArray[Any], model: Model) -> NDArray[Any]:
    """Return an example in the model's shape: a shorter sequence is filled up where the model sees its end."""
    shape: Shape = model.network.input_shape
    if example.shape == shape:
        return example
    sequence = len(shape) <= 2 and example.ndim == len(shape) and example.shape[:-1] == shape[:-1]
    if not sequence or example.shape[-1] > shape[-1]:
        raise ShapeError(f"{path}: has the shape {example.shape}, the model takes examples of shape {shape}")
    masks = [node.layer for node in model.network.nodes if isinstance(node.layer, PaddingMask)]
    if not masks:
        raise SettingError(
            f"{path}: the sequence has {example.shape[-1]} steps, the model reads {shape[-1]}; sequences of any length "
            f"up to it are read by a network with a PaddingMask: train with --set masked=true"
        )
    missing = [(0, 0)] * (example.ndim - 1) + [(0, shape[-1] - example.shape[-1])]
    return np.pad(example, missing, constant_values=masks[0].value)
