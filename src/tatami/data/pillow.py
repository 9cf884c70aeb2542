"""Pillow, which reads and writes pictures: the extra ``images``, imported where it is used.

With it the core would be 102 MB on disk, 93 of them NumPy and Pillow; without it 80.
"""

from types import ModuleType

from tatami.errors import import_extra


def pillow(module: str) -> ModuleType:
    """Return one of Pillow's modules, such as 'Image'.

    Raises:
        MissingExtraError: Pillow is not installed; the message names the extra.
    """
    return import_extra(f"PIL.{module}", "images", "to read and write pictures", package="Pillow")
