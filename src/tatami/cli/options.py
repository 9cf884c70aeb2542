"""Options that several commands share, and the words that they accept."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tatami.errors import SettingError
from tatami.inspect.phrases import LANGUAGES, Language

LANGUAGE_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")
F = TypeVar("F", bound=Callable[..., Any])

backend_option = click.option(
    "--backend", metavar="NAME", help="What computes: native (default where it is built) or reference."
)
threads_option = click.option(
    "--threads", type=int, metavar="N", help="Threads of a backend that has its own."
)
precision_option = click.option(
    "--precision", metavar="NAME", help="f32 (default), bf16 or bf16x3 (native backend) or f64 (reference)."
)


def language_of_terminal() -> Language:
    """Return the language that the terminal is set to, English unless it is Japanese."""
    setting = next((os.environ[name] for name in LANGUAGE_VARIABLES if os.environ.get(name)), "")
    return "ja" if setting.startswith("ja") else "en"


language_option = click.option(
    "--lang",
    "language",
    type=click.Choice(LANGUAGES),
    default=language_of_terminal,
    help="English or Japanese; by default as the terminal is set.",
)
filters_option = click.option(
    "--filters", multiple=True, metavar="FILTERS",
    help="Filters whose growth over the epochs is shown, such as 'conv2[5,17]' or conv2.",
)  # fmt: skip
json_option = click.option(
    "--json", "as_json", is_flag=True, help="End stdout with one JSON object; the rest goes to stderr."
)
data_option = click.option(
    "--data",
    "data_folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where the files of mnist and the like lie; for katakana: a font file to test on.",
)
size_option = click.option(
    "--size", metavar="N|HxW", help="Resize the images of a folder to this size, or draw katakana in it."
)
channels_option = click.option(
    "--channels", type=click.Choice(["1", "3"]), help="Read the images of a folder as grey (1) or colour (3)."
)
augment_option = click.option(
    "--augment", metavar="NAME|FILE", help="Look at several views of each image, varied by this pipeline."
)
views_option = click.option(
    "--views",
    type=int,
    default=8,
    show_default=True,
    metavar="N",
    help="Views of each image, with --augment.",
)
input_option = click.option(
    "--input", "input_shape", metavar="SHAPE", help="Input shape for a named network, such as 1x28x28."
)
classes_option = click.option(
    "--classes", type=int, metavar="N", help="Number of classes for a named network."
)


def image_size(text: str | None) -> tuple[int, int] | None:
    """Read N or HxW.

    >>> image_size("28"), image_size("32x48"), image_size(None)
    ((28, 28), (32, 48), None)
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None:
        raise SettingError(f"--size: expected a number or HxW such as 32x48, got {text!r}")
    return int(match[1]), int(match[2] or match[1])


def usable_threads() -> int:
    """Return how many processors this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def threads_in_use(backend: str, threads: int | None) -> int:
    """Return how many threads a backend computes with: the reference one with one, whatever was asked for."""
    if backend == "reference":
        return 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return threads or (int(wanted) if wanted.isdigit() else usable_threads())
