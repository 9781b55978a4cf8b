"""Served: what a dashboard that is served as a web page lets its visitors do with the server's files."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from nbkit.errors import InputError, file_name
from nbkit.files.atomic_write import path_of

RESULTS = "results"
"""The folder, beside the notebook, below which visitors may save."""


def is_served() -> bool:
    """Whether this notebook is a web page: Voila says so in the kernel's environment."""
    return os.environ.get("SERVER_SOFTWARE", "").startswith("voila")


def check_may_read(path: str | Path) -> Path:
    """The path, if it may be read: of a web page, only below the notebook's folder.

    Raises
    ------
    InputError
        It may not, or no file can have this name.
    """
    path = path_of(path)
    if is_served():
        _check_is_below(path, Path.cwd(), "reads files beside its notebook only")
    return path


def check_may_write(path: str | Path) -> Path:
    """The path, if it may be written: of a web page, only below ``results`` beside the notebook.

    Raises
    ------
    InputError
        It may not, or no file can have this name.
    """
    path = path_of(path)
    if is_served():
        _check_is_below(path, Path.cwd() / RESULTS, f"saves below {RESULTS}/ only: for example {RESULTS}/runs")
    return path


def check_may_replace(path: Path, own: Collection[Path]) -> None:
    """Refuse to write over what is there, on a web page, but for those of ``own``, which that page has written.

    Raises
    ------
    InputError
        It is there already.
    """
    if is_served() and os.path.lexists(path) and path.resolve() not in own:
        raise InputError(f"{file_name(path)} is there already, and not from this page; choose another name.")


def _check_is_below(path: Path, folder: Path, rule: str) -> None:
    """Refuse a path that leads out of a folder, by .., by a link or because it begins elsewhere."""
    try:
        is_below = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a name too long, links in a circle
        is_below = False
    if not is_below:
        raise InputError(f"{file_name(path)} is not for this page, which {rule}.")
