"""nbkit: learn, explore and run multi-GPU LLM inference from a Jupyter notebook."""

from __future__ import annotations

import importlib
import importlib.abc
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbkit.app.wall.joining import join_wall
    from nbkit.errors import (
        InputError,
        JobCancelled,
        ModelError,
        NbkitError,
        PromptError,
        RankDied,
        RankError,
        WorkersError,
    )
    from nbkit.inference.bulk import Bulk
    from nbkit.inference.workers import Workers, launch
    from nbkit.measure.load import Monitor
    from nbkit.measure.sweep import Grid, Sweep, run_sweep
    from nbkit.models import load as load_model
    from nbkit.prompts import FIRST_LINES, first_lines, synthetic_prompts
    from nbkit.prompts.files import read_prompts
    from nbkit.records.run import Run
    from nbkit.records.settings import ARTICLE, Settings
    from nbkit.runtime import Job
    from nbkit.runtime.context import current_job

_HOME = {
    "ARTICLE": "nbkit.records.settings",
    "Bulk": "nbkit.inference.bulk",
    "FIRST_LINES": "nbkit.prompts.builtin",
    "Grid": "nbkit.measure.sweep",
    "InputError": "nbkit.errors",
    "Job": "nbkit.runtime",
    "JobCancelled": "nbkit.errors",
    "ModelError": "nbkit.errors",
    "Monitor": "nbkit.measure.load",
    "NbkitError": "nbkit.errors",
    "PromptError": "nbkit.errors",
    "RankDied": "nbkit.errors",
    "RankError": "nbkit.errors",
    "Run": "nbkit.records.run",
    "Settings": "nbkit.records.settings",
    "Sweep": "nbkit.measure.sweep",
    "Workers": "nbkit.inference.workers",
    "WorkersError": "nbkit.errors",
    "current_job": "nbkit.runtime.context",
    "first_lines": "nbkit.prompts.builtin",
    "join_wall": "nbkit.app.wall.joining",
    "launch": "nbkit.inference.workers",
    "load_model": "nbkit.models.loading:load",
    "read_prompts": "nbkit.prompts.files",
    "run_sweep": "nbkit.measure.sweep",
    "synthetic_prompts": "nbkit.prompts.builtin",
}

__all__ = [
    "ARTICLE",
    "FIRST_LINES",
    "Bulk",
    "Grid",
    "InputError",
    "Job",
    "JobCancelled",
    "ModelError",
    "Monitor",
    "NbkitError",
    "PromptError",
    "RankDied",
    "RankError",
    "Run",
    "Settings",
    "Sweep",
    "Workers",
    "WorkersError",
    "current_job",
    "first_lines",
    "join_wall",
    "launch",
    "load_model",
    "read_prompts",
    "run_sweep",
    "synthetic_prompts",
]
__version__ = "0.2.0"

_MOVED = {
    "cli": "app.cli",
    "dashboards": "app.dashboards",
    "device_speed": "measure.device_speed",
    "doctor": "app.doctor",
    "exercises": "app.exercises",
    "export": "records.export",
    "generation": "inference.generation",
    "hello": "inference.hello",
    "machine": "files.machine",
    "model_shape": "models.model_shape",
    "monitor": "measure.load",
    "progress": "inference.progress",
    "prompt_files": "prompts.files",
    "prompt_tokens": "models.prompt_tokens",
    "report": "figures.html.report",
    "run": "records.run",
    "schedule": "inference.schedule",
    "settings": "records.settings",
    "sweep": "measure.sweep",
    "sweep_report": "figures.html.sweep_report",
    "throughput": "records.throughput",
    "token_lengths": "models.token_lengths",
    "workers": "inference.workers",
}
"""Modules of version 0.1 that stand elsewhere now; their old names, ``nbkit.dashboards`` among them, lead there."""


def __getattr__(name: str) -> Any:
    # Public names are imported when first used, so that `import nbkit` costs
    # milliseconds and loads neither torch nor widgets.
    if name in _MOVED:
        return importlib.import_module(f"nbkit.{_MOVED[name]}")
    if name not in _HOME:
        raise AttributeError(f"module 'nbkit' has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    value = getattr(importlib.import_module(module), attribute or name)
    globals()[name] = value
    return value


class _MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds, under a name of version 0.1, the module that stands elsewhere now: the same object under both names."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, module = name.partition(".")
        return ModuleSpec(name, self) if package == __name__ and module in _MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(f"{__name__}.{_MOVED[spec.name.partition('.')[2]]}")
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # It has run under its own name; the import system has just overwritten its spec.
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


sys.meta_path.append(_MovedModules())


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
