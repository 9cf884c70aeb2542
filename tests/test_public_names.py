"""The lazy public names: all there, and the same for Python and for type checkers."""

import ast
import importlib
from pathlib import Path

import pytest

import tatami


def names_for_type_checkers() -> dict[str, tuple[str, ...]]:
    tree = ast.parse(Path(tatami.__file__).read_text(encoding="utf-8"))
    block = next(
        node
        for node in tree.body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    )
    return {
        node.module: tuple(alias.name for alias in node.names)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
    }


@pytest.mark.parametrize("name", tatami.MODULE_OF)
def test_a_public_name_is_what_its_module_defines(name):
    module = importlib.import_module(tatami.MODULE_OF[name])
    assert getattr(tatami, name) is getattr(module, name)


def test_type_checkers_are_told_the_same_names():
    assert names_for_type_checkers() == tatami.PUBLIC_NAMES


def test_the_public_names_are_listed():
    assert set(dir(tatami)) == {"__version__", *tatami.MODULE_OF}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'tatami' has no attribute 'Convolutional'"):
        _ = tatami.Convolutional
