"""nbkit: learn, explore and run multi-GPU LLM inference from a Jupyter notebook."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbkit.errors import InputError, JobCancelled, ModelError, NbkitError, RankDied, RankError, WorkersError
    from nbkit.models import load as load_model
    from nbkit.monitor import Monitor
    from nbkit.prompt_files import read_prompts
    from nbkit.prompts import FIRST_LINES, first_lines, synthetic_prompts
    from nbkit.run import Run
    from nbkit.settings import ARTICLE, Settings
    from nbkit.sweep import Grid, Sweep, run_sweep
    from nbkit.workers import Job, Workers, launch

_HOME = {
    "ARTICLE": "nbkit.settings",
    "FIRST_LINES": "nbkit.prompts",
    "Grid": "nbkit.sweep",
    "InputError": "nbkit.errors",
    "Job": "nbkit.workers",
    "JobCancelled": "nbkit.errors",
    "ModelError": "nbkit.errors",
    "Monitor": "nbkit.monitor",
    "NbkitError": "nbkit.errors",
    "RankDied": "nbkit.errors",
    "RankError": "nbkit.errors",
    "Run": "nbkit.run",
    "Settings": "nbkit.settings",
    "Sweep": "nbkit.sweep",
    "Workers": "nbkit.workers",
    "WorkersError": "nbkit.errors",
    "first_lines": "nbkit.prompts",
    "launch": "nbkit.workers",
    "load_model": "nbkit.models:load",
    "read_prompts": "nbkit.prompt_files",
    "run_sweep": "nbkit.sweep",
    "synthetic_prompts": "nbkit.prompts",
}

__all__ = [
    "ARTICLE",
    "FIRST_LINES",
    "Grid",
    "InputError",
    "Job",
    "JobCancelled",
    "ModelError",
    "Monitor",
    "NbkitError",
    "RankDied",
    "RankError",
    "Run",
    "Settings",
    "Sweep",
    "Workers",
    "WorkersError",
    "first_lines",
    "launch",
    "load_model",
    "read_prompts",
    "run_sweep",
    "synthetic_prompts",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Public names are imported when first used, so that `import nbkit` costs
    # milliseconds and loads neither torch nor widgets.
    if name not in _HOME:
        raise AttributeError(f"module 'nbkit' has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    value = getattr(importlib.import_module(module), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
