"""Checks of settings that many layers share."""

from math import inf, isfinite

from tatami.errors import SettingError, ShapeError
from tatami.geometry import Shape
from tatami.layers.base import Layer


def require_number(
    layer: Layer, setting: str, *, at_least: float = -inf, above: float = -inf, below: float = inf
) -> None:
    """Raise unless a setting, which is a finite number by its annotation, is within the bounds that are given."""
    value = getattr(layer, setting)
    if at_least <= value and above < value < below:
        return
    bounds = (("at least", at_least), ("above", above), ("below", below))
    limits = " and ".join(f"{words} {bound:g}" for words, bound in bounds if isfinite(bound))
    raise SettingError(f"{layer.label}: {setting} must be {limits}, got {value!r}")


def require_spatial(layer: Layer, shape: Shape) -> None:
    """Raise unless a shape has one to three spatial axes behind the channels."""
    if len(shape) not in (2, 3, 4):
        raise ShapeError(
            f"{layer.label}: expected an input of shape (C, W), (C, H, W) or (C, D, H, W), got {shape}"
        )
