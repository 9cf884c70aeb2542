"""Imports point down only, and nothing heavy is imported before it is used.

Read from the syntax trees of all modules, so that imports inside functions count too.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tatami

ROOT = Path(tatami.__file__).parent

# From the ground up. A room may import itself and the rooms on lower floors, not its neighbours.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "columns"),
    ("random", "geometry", "description", "single_thread"),
    ("native", "data"),
    ("backends",),
    ("initializers",),
    ("layers", "optimizers", "schedules", "metrics"),
    ("losses",),
    ("network",),
    ("program", "transfer"),
    ("gradient_check", "models", "pretraining", "boltzmann"),
    ("training",),
    ("inspect",),
    ("interop",),
    ("estimators",),
    ("lectures", "web"),
    ("cli",),
    ("__main__",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
HEAVY = {
    "PIL",
    "torch",
    "matplotlib",
    "sklearn",
    "cv2",
    "scipy",
    "pandas",
    "onnx",
    "fastapi",
    "uvicorn",
    "tensorboard",
}

MODULES = sorted(ROOT.rglob("*.py"))


def room_of(path: Path) -> str:
    """Return the module or package right below tatami/ that a file belongs to."""
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imported_modules(node: ast.AST, path: Path) -> Iterator[str]:
    """Yield the absolute names of the modules that an import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        if node.level:
            package = ("tatami", *path.relative_to(ROOT).parts[:-1])
            module = ".".join((*package[: len(package) - node.level + 1], *filter(None, [module])))
        if module == "tatami":
            yield from (f"tatami.{alias.name}" for alias in node.names)
        else:
            yield module


def tatami_imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, room) of everything that a module imports from Tatami, at the top or in functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for module in imported_modules(node, path):
            if module.startswith("tatami."):
                name = module.split(".")[1]
                public = tatami.MODULE_OF.get(name, module)
                yield node.lineno, public.split(".")[1]


def top_level(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements that run when a module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_type_checking(child):
            continue
        yield child
        yield from top_level(child)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_down(path):
    room = room_of(path)
    if room == "__init__":
        return
    assert room in FLOOR_OF, f"give {room!r} a floor in FLOORS"
    for line, other in tatami_imports(path):
        if other in (room, "__version__"):
            continue
        here, there = FLOOR_OF[room], FLOOR_OF[other]
        assert there < here, (
            f"{path.name}:{line}: {room} (floor {here}) imports {other} (floor {there}); imports point down only"
        )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_heavy_packages_are_imported_where_they_are_used(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in top_level(tree):
        for module in imported_modules(node, path):
            assert module.split(".")[0] not in HEAVY, (
                f"{path.name}:{node.lineno} imports {module} at the top; "
                f"import it inside the function that uses it, with errors.import_extra"
            )


def test_nothing_is_pickled_or_evaluated():
    forbidden = {"pickle", "shelve", "marshal", "joblib", "dill", "cloudpickle"}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for module in imported_modules(node, path):
                assert module.split(".")[0] not in forbidden, f"{path.name}:{node.lineno} imports {module}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec"}, f"{path.name}:{node.lineno} calls {node.func.id}"
