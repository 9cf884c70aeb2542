"""The committed stub says what the compiled module offers: names, parameters and defaults, as nanobind sees them."""

import ast
from pathlib import Path

import pytest

import tatami
from tatami import native

pytestmark = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")
stubgen = pytest.importorskip("nanobind.stubgen", reason="nanobind writes the stub to compare with")


def signatures(source: str) -> dict[str, str]:
    """Return dotted name -> parameters with default values, or the decorators of a property; types are left out.

    nanobind describes arrays in its own terms, the stub in NumPy's.
    """
    found: dict[str, str] = {}

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for statement in body:
            if isinstance(statement, ast.ClassDef):
                visit(statement.body, f"{prefix}{statement.name}.")
            elif isinstance(statement, ast.FunctionDef):
                parts = [argument.arg for argument in statement.args.args]
                for at, default in enumerate(reversed(statement.args.defaults), 1):
                    parts[-at] += f"={ast.unparse(default)}"
                parts += [f"@{ast.unparse(decorator)}" for decorator in statement.decorator_list]
                if any(part.endswith(".setter") for part in parts):
                    parts = ["setter"]
                found.setdefault(prefix + statement.name, "")
                found[prefix + statement.name] += f"({', '.join(parts)})"

    visit(ast.parse(source).body, "")
    return found


def test_the_stub_is_what_nanobind_would_write() -> None:
    generator = stubgen.StubGen(native.kernels())
    generator.put(native.kernels())
    committed = (Path(tatami.__file__).parent / "native" / "_kernels.pyi").read_text(encoding="utf-8")
    assert signatures(committed) == signatures(generator.get())
