"""The C++ kernels: whether they are there, for which instruction sets, and which one is used.

The environment variable ``TATAMI_ISA`` forces one of `available` (baseline, avx2, avx512, avx512_bf16, amx); otherwise
the best that the processor can execute is taken. ``TATAMI_ISA=amx_emulated`` runs the kernels for tile registers (amx)
on an emulation of these registers, on any machine: slow, and only for tests (``amx_emulated_baseline``: beside the
plainest vectors). An installation without compiled kernels imports all the same; `kernels` then says why they are
missing.
"""

import importlib
import os
from types import ModuleType

from tatami.errors import SettingError, UnknownNameError, unknown_name

_kernels: ModuleType | None = None
_missing = ""
try:
    _kernels = importlib.import_module("tatami.native._kernels")
except ModuleNotFoundError:
    _missing = "it was installed without a C++ compiler, or for another Python"
except ImportError as error:
    _missing = str(error)


def is_built() -> bool:
    """Say whether this installation has compiled kernels."""
    return _kernels is not None


def why_missing() -> str:
    """Return why the kernels cannot be used, or an empty string."""
    return _missing


def kernels() -> ModuleType:
    """Return the compiled module.

    Raises:
        SettingError: this installation has none.
    """
    if _kernels is None:
        raise SettingError(
            f"the native backend is not built into this installation ({_missing}); reinstall Tatami where a C++ "
            f"compiler is found, or use backend='reference'"
        )
    return _kernels


def available() -> tuple[str, ...]:
    """Return the instruction sets that there are kernels for and that this processor can execute, best first."""
    return tuple(kernels().available()) if is_built() else ()


def emulated() -> tuple[str, ...]:
    """Return the instruction sets that this processor need not have, because tests emulate them."""
    return ("amx_emulated", "amx_emulated_baseline") if is_built() else ()


def tile_support() -> str:
    """Return one line on tile registers (amx): how they were checked when the kernels were loaded, or why they rest."""
    missing, checked = kernels().tiles() if is_built() else (why_missing(), "")
    return checked or f"not used: {missing}"


def instruction_set() -> str:
    """Return the instruction set in use: the best available, or what ``TATAMI_ISA`` names.

    Raises:
        UnknownNameError: ``TATAMI_ISA`` names none of the available ones.
    """
    wanted = os.environ.get("TATAMI_ISA", "")
    kernels()
    choices = available()
    if not wanted:
        return choices[0]
    if wanted not in choices and wanted not in emulated():
        raise instruction_set_error(wanted, choices)
    return wanted


def instruction_set_error(wanted: str, choices: tuple[str, ...]) -> UnknownNameError:
    """Return the error for an instruction set that cannot be used here."""
    return unknown_name("instruction set (TATAMI_ISA)", wanted, choices)
