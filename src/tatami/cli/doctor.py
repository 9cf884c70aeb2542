"""``tatami doctor``: what this machine and this installation offer."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from tatami import __version__, native
from tatami.cli.console import Console
from tatami.cli.options import json_option, usable_threads
from tatami.errors import UnknownNameError
from tatami.program import backend_to_use

CORE = ("numpy", "safetensors", "click", "tqdm", "threadpoolctl")
# Extra -> the package that it is for.
# Extras that pyproject.toml declares for users, and the package that shows whether they are there.
EXTRAS = {"images": "pillow", "plot": "matplotlib", "augment": "opencv-python-headless"}
# Features that decide which kernels can run, as Linux spells them.
FEATURES = ("avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16", "sve")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TATAMI_ISA")


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Print versions, processor features, available backends and threads: what to put into a bug report."""
    console = Console(machine=as_json)
    facts = examine()
    console.heading("Versions")
    console.fields(
        {
            "tatami": facts["versions"]["tatami"],
            "python": facts["versions"]["python"],
            **{name: facts["versions"][name] or "missing" for name in CORE},
        }
    )
    console.heading("Extras")
    console.fields(
        {
            extra: f"{package} {facts['extras'][extra]}"
            if facts["extras"][extra]
            else f"not installed: pip install 'tatami[{extra}]'"
            for extra, package in EXTRAS.items()
        }
    )
    console.heading("Machine")
    console.fields(
        {
            "system": facts["system"],
            "processor": facts["processor"],
            "features": " ".join(facts["features"]) or "unknown",
            "threads": f"{facts['threads']['usable']} usable of {facts['threads']['processors']}",
            **{name: value for name, value in facts["threads"]["environment"].items() if value},
            "linear algebra": facts["blas"],
        }
    )
    console.heading("Backends")
    lines = {backend["name"]: backend_line(backend) for backend in facts["backends"]}
    for backend in facts["backends"]:
        if backend.get("tiles"):
            lines["tiles (amx)"] = backend["tiles"]
    console.fields(lines)
    console.json(facts)


def examine() -> dict[str, Any]:
    """Return everything that the command prints."""
    return {
        "versions": {
            "tatami": __version__,
            "python": platform.python_version(),
            **{name: installed(name) for name in CORE},
        },
        "extras": {extra: installed(package) for extra, package in EXTRAS.items()},
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor_name(),
        "features": processor_features(),
        "threads": {
            "processors": os.cpu_count(),
            "usable": usable_threads(),
            "environment": {name: os.environ.get(name) for name in THREAD_VARIABLES},
        },
        "blas": linear_algebra(),
        "backends": backends(),
    }


def installed(package: str) -> str | None:
    """Return the version of an installed package, without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor_lines() -> dict[str, str]:
    """Return the first processor's entries of /proc/cpuinfo, where there is one."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    first = text.split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def processor_name() -> str:
    """Return what the processor calls itself."""
    return processor_lines().get("model name") or platform.processor() or platform.machine()


def processor_features() -> list[str]:
    """Return which of the features that matter this processor has."""
    lines = processor_lines()
    words = set(lines.get("flags", lines.get("Features", "")).split())
    return [feature for feature in FEATURES if feature in words]


def linear_algebra() -> str:
    """Return which library multiplies NumPy's matrices."""
    import numpy as np

    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()


def backends() -> list[dict[str, Any]]:
    """Return every backend, whether it can be used here, if not why, and which one is used where none is named."""
    every = [{"name": "reference", "available": True, "reason": None}, native_backend()]
    return [{**backend, "default": backend["name"] == backend_to_use()} for backend in every]


def native_backend() -> dict[str, Any]:
    """Return whether the kernels are there, for which instruction sets, which one is used and with how many threads."""
    forced = os.environ.get("TATAMI_ISA") or None
    reason: str | None = native.why_missing() or None
    chosen = None
    if native.is_built():
        try:
            chosen = native.instruction_set()
        except UnknownNameError as error:
            reason = str(error)
    return {
        "name": "native",
        "available": chosen is not None,
        "reason": reason,
        "instruction_sets": list(native.available()),
        "instruction_set": chosen,
        "forced": forced,
        "threads": native.kernels().default_threads() if native.is_built() else None,
        "tiles": native.tile_support() if native.is_built() else None,
    }


def backend_line(backend: dict[str, Any]) -> str:
    """Say in a line whether a backend can be used."""
    if not backend["available"]:
        return f"not available: {backend['reason']}"
    default = ", the default" if backend["default"] else ""
    if not backend.get("instruction_sets"):
        return f"available{default}"
    why = "forced by TATAMI_ISA" if backend["forced"] else "the best"
    if backend["instruction_set"] in native.emulated():
        why += " (tiles in software: only for tests), not one"
    threads = f"{backend['threads']} thread{'' if backend['threads'] == 1 else 's'}"
    return (
        f"available{default}: {backend['instruction_set']}, {why} of {', '.join(backend['instruction_sets'])}; "
        f"{threads} by default"
    )
