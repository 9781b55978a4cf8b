"""The cache: the folder for what is made once on this machine, and how it comes to be there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from nbkit.errors import ModelError


def cache_folder() -> Path:
    """Where it is: ``$NBKIT_CACHE``, else ``nbkit`` in the user's cache."""
    if chosen := os.environ.get("NBKIT_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "nbkit"


def build_once(built: Path, build: Callable[[Path], None], why_not_whole: Callable[[Path], str | None]) -> Path:
    """The folder ``built``, which ``build`` has filled unless it is there; safe against a second process and a kill.

    Parameters
    ----------
    build : callable
        Is given an empty folder beside it, which takes the name only when whole.
    why_not_whole : callable
        Of a folder: what it lacks, in a sentence without its stop; None if nothing. It is asked of what was built,
        and of what is there already: a folder that is not whole is built anew.

    Raises
    ------
    OSError
        There is no room, or no right to write.
    ModelError
        What was built is not whole.
    """
    from filelock import FileLock

    if built.is_dir() and why_not_whole(built) is None:
        return built
    built.parent.mkdir(parents=True, exist_ok=True)
    # The lock goes with its process, so a killed build blocks nobody.
    with FileLock(built.parent / f"{built.name}.lock"):
        if not built.is_dir() or why_not_whole(built) is not None:
            _build_and_rename(built, build, why_not_whole)
    return built


def _build_and_rename(
    built: Path, build: Callable[[Path], None], why_not_whole: Callable[[Path], str | None]
) -> None:
    prefix = f".{built.name}-partial-"
    for left_behind in built.parent.glob(prefix + "*"):
        shutil.rmtree(left_behind)
    partial = Path(tempfile.mkdtemp(prefix=prefix, dir=built.parent))
    try:
        # What is not whole goes first: where the disk is full, it may be in the way of what is.
        _remove(built)
        build(partial)
        if lacking := why_not_whole(partial):
            raise ModelError(f"what was built for {built} is not whole: {lacking}; try again.")
        partial.chmod(0o755)
        partial.rename(built)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
