"""The architecture: a module imports only from its own floor or from those below."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "nbkit"
FLOORS = [
    "errors",
    "settings",
    "prompts",
    "records",
    "machine",
    "embedded_models",
    "models",
    "engines",
    "hello",
    "generation",
    "progress",
    "workers",
    "figures",
    "report",
    "doctor",
    "cli",
    "dashboards",
]


def test_every_module_has_a_floor():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    assert rooms - {"__init__", "__main__"} == set(FLOORS)


def test_imports_go_down():
    upward = []
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room not in FLOORS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("nbkit"):
                continue
            parts = node.module.split(".")
            targets = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
            upward += [f"{path.name} -> {t}" for t in targets if FLOORS.index(t) > FLOORS.index(room)]
    assert upward == []
