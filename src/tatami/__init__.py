"""Tatami (畳, from 畳み込み, convolution): a convolutional-network library that you can see through.

Public names are imported when they are first used, so that ``import tatami`` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tatami.errors import (
        CheckpointError as CheckpointError,
        DataError as DataError,
        MissingExtraError as MissingExtraError,
        NotFiniteError as NotFiniteError,
        SettingError as SettingError,
        ShapeError as ShapeError,
        TatamiError as TatamiError,
        UnknownNameError as UnknownNameError,
    )
    from tatami.geometry import Geometry as Geometry
    from tatami.random import RandomKey as RandomKey

__version__ = "0.1.0"

# Module -> the public names that it defines; the imports above say the same to type checkers,
# and tests/test_public_names.py compares the two.
PUBLIC_NAMES: dict[str, tuple[str, ...]] = {
    "tatami.errors": (
        "CheckpointError",
        "DataError",
        "MissingExtraError",
        "NotFiniteError",
        "SettingError",
        "ShapeError",
        "TatamiError",
        "UnknownNameError",
    ),
    "tatami.geometry": ("Geometry",),
    "tatami.random": ("RandomKey",),
}

MODULE_OF = {name: module for module, names in PUBLIC_NAMES.items() for name in names}

__all__ = ["__version__", *sorted(MODULE_OF)]


def __getattr__(name: str) -> object:
    """Import the module that defines a public name when the name is first used."""
    if name not in MODULE_OF:
        raise AttributeError(f"module 'tatami' has no attribute {name!r}")
    value = getattr(importlib.import_module(MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
