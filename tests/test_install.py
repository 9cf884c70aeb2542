"""What Tatami costs: the time of `import tatami` and the disk space of the core install."""

import json
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

IMPORT_SECONDS = 0.2
CORE_BYTES = 100e6
HEAVY = ("torch", "matplotlib", "sklearn", "cv2")

MEASURE_IMPORT = """
import json, sys, time
start = time.perf_counter()
import tatami
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "modules": sorted(sys.modules)}))
"""


def import_in_a_fresh_interpreter() -> dict:
    finished = subprocess.run(
        [sys.executable, "-c", MEASURE_IMPORT], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(finished.stdout)


def core_requirements(package: str) -> set[str]:
    """Return the packages that installing one without extras brings, itself included."""
    found: set[str] = set()
    waiting = [canonicalize_name(package)]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for line in metadata.distribution(name).requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(requirement.name))
    return found


def installed_bytes(package: str) -> int:
    """Return the sizes of all files that a package's RECORD lists, byte code included."""
    files = metadata.distribution(package).files or []
    return sum(path.stat().st_size for path in {file.locate() for file in files} if path.is_file())


def test_import_takes_at_most_a_fifth_of_a_second():
    fastest = min(import_in_a_fresh_interpreter()["seconds"] for _ in range(5))
    assert fastest <= IMPORT_SECONDS


def test_import_brings_nothing_heavy():
    modules = {name.split(".")[0] for name in import_in_a_fresh_interpreter()["modules"]}
    assert not modules.intersection(HEAVY)


def test_the_core_install_stays_small():
    try:
        packages = core_requirements("tatami")
    except metadata.PackageNotFoundError as error:
        pytest.skip(f"runs against the installed package: {error}")
    sizes = {package: installed_bytes(package) for package in packages}
    assert all(sizes.values()), f"a package without files: {sizes}"
    assert {"numpy", "safetensors", "click", "tqdm"} < set(sizes)
    assert sum(sizes.values()) <= CORE_BYTES, f"core install: {sizes}"
