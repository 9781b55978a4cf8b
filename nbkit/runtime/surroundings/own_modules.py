"""Own modules: which are the user's own, to be edited while a notebook runs, and in what state their files are."""

from __future__ import annotations

import os
import sysconfig
import types
from pathlib import Path

Stamp = tuple[int, int]
"""A file's time of change, in nanoseconds, and its size."""

_INSTALLED_PARTS = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_INSTALLED_FOLDERS = tuple(
    folder + os.sep
    for folder in {
        str(Path(__file__).parents[1]),
        *(sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
    }
)
_SCRIPTS = ("__main__", "__mp_main__")
"""What a script or notebook defines travels by value."""


def own_source(name: str, module: object) -> str | None:
    """The source file of a module that is neither installed nor Python's nor the kit's; None for all others."""
    if not isinstance(module, types.ModuleType) or name in _SCRIPTS:
        return None
    # Not by getattr: modules that import lazily would begin to.
    file = vars(module).get("__file__")
    if not isinstance(file, str) or not file.endswith(".py") or file.startswith(_INSTALLED_FOLDERS):
        return None
    return None if any(part in file for part in _INSTALLED_PARTS) else file


def stamp_of(file: str) -> Stamp | None:
    """What tells one state of a file from another; None if it is gone."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
