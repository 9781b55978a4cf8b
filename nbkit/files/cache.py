"""The cache: the folder for what is made once on this machine, and how it comes to be there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def cache_folder() -> Path:
    """Where it is: ``$NBKIT_CACHE``, else ``nbkit`` in the user's cache."""
    if chosen := os.environ.get("NBKIT_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "nbkit"


def build_once(built: Path, build: Callable[[Path], None]) -> Path:
    """The folder ``built``, which ``build`` has filled unless it is there; safe against a second process and a kill.

    ``build`` is given an empty folder beside it, which takes the name only when whole.

    Raises
    ------
    OSError
        There is no room, or no right to write.
    """
    from filelock import FileLock

    if built.is_dir():
        return built
    built.parent.mkdir(parents=True, exist_ok=True)
    # The lock goes with its process, so a killed build blocks nobody.
    with FileLock(built.parent / f"{built.name}.lock"):
        if not built.is_dir():
            _build_and_rename(built, build)
    return built


def _build_and_rename(built: Path, build: Callable[[Path], None]) -> None:
    prefix = f".{built.name}-partial-"
    for left_behind in built.parent.glob(prefix + "*"):
        shutil.rmtree(left_behind)
    partial = Path(tempfile.mkdtemp(prefix=prefix, dir=built.parent))
    try:
        build(partial)
        partial.chmod(0o755)
        partial.rename(built)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
