"""Text files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
from pathlib import Path
from typing import TextIO

from nbkit.errors import InputError, file_name, shorten
from nbkit.files.file_lock import if_left_behind, is_still_at, lock

_PARTIAL = re.compile(r"\.nbkit-[0-9]+-[0-9]+\.partial")


def check_writable(path: str | Path) -> Path:
    """The path, if a file can be written there: asked before work starts, not after.

    Raises
    ------
    InputError
        The folder cannot be made or written, or the path is a folder.
    """
    path = path_of(path)
    try:
        # Raises where the name is too long.
        if path.is_dir():
            raise InputError(f"{file_name(path)} is a folder; name a file in it.")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            return path
    except OSError as error:
        raise InputError(f"cannot write {file_name(path)}: {error.strerror or error}; name another place.") from None


def path_of(path: str | Path) -> Path:
    """A path, if a file can have such a name.

    Raises
    ------
    InputError
        It is no text, or holds a character that no file's name can have.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"a file's name must be text or a Path, not {shorten(path)}.")
    try:
        if b"\0" not in os.fsencode(path):
            return Path(path)
    except UnicodeEncodeError:
        pass
    raise InputError(
        f"{file_name(path)} holds characters that no file's name can have (a null character or a lone surrogate)."
    )


def write_atomically(path: str | Path, text: str) -> Path:
    """Write a text file so that a reader finds the old one or the whole new one.

    Raises
    ------
    InputError
        The file cannot be written; what stood there before still does.
    """
    path = check_writable(path)
    remove_left_behind(path.parent)
    # Beside the target: a rename is atomic only within one file system.
    partial = path.with_name(f".nbkit-{os.getpid()}-{threading.get_ident()}.partial")
    try:
        with _open_locked(partial) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.replace(partial, path)
    except OSError as error:
        raise InputError(f"cannot write {file_name(path)}: {error.strerror or error}.") from None
    except UnicodeEncodeError as error:
        raise InputError(
            f"cannot write {file_name(path)}: character {error.start} of its content is no text (a "
            "lone surrogate); remove it."
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return path


def remove_left_behind(folder: Path) -> None:
    """Remove what this user's writers that were killed have left of files in a folder."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for name in [entry.name for entry in entries if _PARTIAL.fullmatch(entry.name)]:
            with if_left_behind(folder / name) as is_left_behind:
                if is_left_behind:
                    (folder / name).unlink(missing_ok=True)


def _open_locked(partial: Path) -> TextIO:
    while True:
        file = partial.open("w", encoding="utf-8")
        lock(file.fileno())
        # Before it was locked another writer may have taken it for left behind.
        if is_still_at(file.fileno(), partial):
            return file
        file.close()
