"""The errors of Tatami: each says where, what was expected, what came, and what would fix it.

All of them derive from `TatamiError`, so ``except TatamiError`` catches everything that a user can
act on and nothing else. The command line prints them as one sentence without a traceback.
"""

import difflib
import importlib
import reprlib
from collections.abc import Iterable
from types import ModuleType

LONGEST_NAME = 100
MOST_NAMES = 40
MOST_SUGGESTIONS = 1000


class TatamiError(Exception):
    """Base of every error that Tatami raises on purpose."""


class SettingError(TatamiError, ValueError):
    """A setting of a layer, an optimiser, a command … has a value that it cannot have."""


class ShapeError(TatamiError, ValueError):
    """Two shapes that have to agree do not."""


class UnknownNameError(TatamiError, LookupError):
    """A name that is not in the list of known names."""


class DataError(TatamiError):
    """Data that cannot be used: missing, truncated, out of range, not finite."""


class CheckpointError(TatamiError):
    """A checkpoint that is truncated, altered, of an unknown version or for another network."""


class NotFiniteError(TatamiError, ArithmeticError):
    """NaN or infinity where a number was expected."""


class MissingExtraError(TatamiError, ImportError):
    """A feature needs a package that only an optional extra installs."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for ``name``, with the nearest known name as a suggestion.

    >>> print(unknown_name("optimizer", "adm", ["sgd", "adam", "adamw"]))
    unknown optimizer 'adm': did you mean 'adam'? Known: adam, adamw, sgd
    """
    choices = sorted(known)
    # Names may come from a file, so neither their length nor their number is trusted.
    nearest = difflib.get_close_matches(name[:LONGEST_NAME], choices[:MOST_SUGGESTIONS], n=1, cutoff=0.5)
    suggestion = f"did you mean {nearest[0]!r}? " if nearest else ""
    listed = ", ".join(choices[:MOST_NAMES]) + (", …" if len(choices) > MOST_NAMES else "")
    return UnknownNameError(f"unknown {kind} {shortened(name)}: {suggestion}Known: {listed}")


def shortened(name: str) -> str:
    """Return a name in quotes, cut in the middle if it is very long."""
    return repr(name) if len(name) <= LONGEST_NAME else reprlib.repr(name)


def import_extra(module: str, extra: str, purpose: str, package: str | None = None) -> ModuleType:
    """Import ``module``, or say which extra of Tatami installs it.

    ``purpose`` completes the sentence "… is needed to draw curves"; ``package`` is what people call the library, if
    its module is called otherwise.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = package or module.partition(".")[0]
        raise MissingExtraError(
            f"{name} is needed {purpose} and is not installed; install it with: pip install 'tatami[{extra}]'"
        ) from error
