"""The architecture: a module imports only from its own floor or from those below."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import nbkit

PACKAGE = Path(__file__).parents[2] / "nbkit"
FLOORS = [
    "errors",
    "files",
    "records",
    "prompts",
    "models",
    "engines",
    "runtime",
    "inference",
    "measure",
    "analysis",
    "figures",
    "app",
]


def test_every_module_has_a_floor():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    assert rooms - {"__init__", "__main__"} == set(FLOORS)


def test_imports_go_down():
    upward = []
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room in FLOORS:
            rooms_used = imported_rooms(ast.parse(path.read_text()))
            upward += [f"{path.name} -> {used}" for used in rooms_used if FLOORS.index(used) > FLOORS.index(room)]
    assert upward == []


@pytest.mark.parametrize(
    ("code", "rooms"),
    [
        ("from nbkit.runtime.job import Job", ["runtime"]),
        ("import nbkit.inference.generation, json", ["inference"]),
        ("from nbkit import app, Workers, load_model, dashboards", ["app", "inference", "models", "app"]),
        ("def f():\n    from nbkit.figures.html import report", ["figures"]),
        ("if TYPE_CHECKING:\n    from nbkit.app.cli import main\nelse:\n    import nbkit.figures", ["figures"]),
        ("import torch\nfrom nbkitten import cat", []),
    ],
)
def test_imports_are_seen_however_they_are_written(code, rooms):
    assert list(imported_rooms(ast.parse(code))) == rooms


def test_imports_are_absolute():
    relative = [
        path.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def imported_rooms(node: ast.AST) -> Iterator[str]:
    """The rooms of nbkit that code imports, in functions too; what only a type checker reads binds nothing."""
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        for child in node.orelse:
            yield from imported_rooms(child)
        return
    if isinstance(node, ast.Import):
        yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("nbkit."))
    elif isinstance(node, ast.ImportFrom) and node.module == "nbkit":
        homes = (_home(alias.name) for alias in node.names if alias.name[0] != "_")
        yield from (home.partition(":")[0].split(".")[1] for home in homes)
    elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nbkit."):
        yield (node.module or "").split(".")[1]
    for child in ast.iter_child_nodes(node):
        yield from imported_rooms(child)


def _home(name: str) -> str:
    return nbkit._HOME.get(name, f"nbkit.{nbkit._MOVED.get(name, name)}")
