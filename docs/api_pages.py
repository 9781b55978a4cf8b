"""API pages: one for the public names of ``nbkit`` and one for each module that notebooks and the README name."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import nbkit

MODULES = {
    "nbkit.app.dashboards": "Dashboards",
    "nbkit.figures": "Figures",
    "nbkit.analysis.scaling": "Scaling",
    "nbkit.analysis.lost_time": "Lost time",
    "nbkit.analysis.cost_model": "Cost model",
    "nbkit.analysis.what_if": "What if",
    "nbkit.analysis.roofline": "Roofline",
    "nbkit.measure.device_speed": "Device speed",
    "nbkit.records.latency": "Latencies",
    "nbkit.records.output": "Output",
}


def write(folder: Path) -> None:
    """Write ``index.md`` and a page for each module of ``MODULES``."""
    pages = "\n".join(MODULES)
    index = [
        "# The public names",
        "",
        "What `import nbkit` gives.",
        "",
        "```{toctree}",
        ":maxdepth: 1",
        "",
        pages,
        "```",
        "",
    ]
    (folder / "index.md").write_text("\n".join([*index, *_members(nbkit.__all__, "nbkit")]))
    for module, title in MODULES.items():
        held = importlib.import_module(module)
        names = getattr(held, "__all__", None) or [
            name for name, value in vars(held).items() if _is_own(value, module)
        ]
        first = (inspect.getdoc(held) or "").split("\n\n")[0].replace("\n", " ").replace("``", "`")
        (folder / f"{module}.md").write_text(
            "\n".join([f"# {title}: `{module}`", "", first, "", *_members(names, module)])
        )


def _is_own(value: object, module: str) -> bool:
    is_public = (inspect.isclass(value) or inspect.isfunction(value)) and not value.__name__.startswith("_")
    return is_public and value.__module__ == module


def _members(names: list[str], module: str) -> list[str]:
    held = importlib.import_module(module)
    lines: list[str] = []
    for name in sorted(names, key=lambda each: (not inspect.isclass(getattr(held, each)), each.lower())):
        value = getattr(held, name)
        if inspect.isclass(value):
            lines += [f".. autoclass:: {module}.{name}", "   :members:", ""]
        elif callable(value):
            lines += [f".. autofunction:: {module}.{name}", ""]
    return ["```{eval-rst}", *lines, "```", ""]
