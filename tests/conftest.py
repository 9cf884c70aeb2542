"""What all tests share: where the real MNIST files lie."""

import os
from pathlib import Path

import hypothesis
import pytest

# A busy machine is no reason to fail: examples have no time limit of their own.
hypothesis.settings.register_profile("tatami", deadline=None)
hypothesis.settings.load_profile("tatami")


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """Return the folder with the four MNIST files, or skip the test where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"
    folder = Path(os.environ.get("TATAMI_TEST_MNIST", beside))
    if not (folder / "t10k-labels-idx1-ubyte.gz").is_file():
        pytest.skip(f"the real MNIST files are not in {folder}; point TATAMI_TEST_MNIST at them")
    return folder
