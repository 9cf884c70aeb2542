import tomllib
from pathlib import Path

from tatami.cli.doctor import EXTRAS

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_doctor_names_only_extras_that_can_be_installed() -> None:
    declared = set(tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"])

    assert set(EXTRAS) == declared - {"test"}
