"""Owned folder: a temporary folder that goes with the process that made it, or when the next one is made."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from pathlib import Path

from nbkit.files.file_lock import if_left_behind, lock

OWNER = ".nbkit-owner"
"""The file whose lock the owner holds for as long as it lives."""


class OwnedFolder:
    """A folder that only this user can enter.

    It is removed by ``remove`` or at the end of this process. What processes that were killed
    have left behind is removed when the next folder with the same ``prefix`` is made.

    Raises
    ------
    OSError
        It cannot be made.
    """

    def __init__(self, prefix: str) -> None:
        remove_left_behind(prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        unnamed = self.path / f"{OWNER}.new"
        self._lock = os.open(unnamed, os.O_CREAT | os.O_RDWR, 0o600)
        lock(self._lock)
        # Only now can it be seen for what it is, and it is locked.
        unnamed.rename(self.path / OWNER)
        self._finalizer = weakref.finalize(self, _remove, self.path, self._lock, os.getpid())

    def remove(self) -> None:
        """Remove it with all that is in it; safe to call again."""
        self._finalizer()


def remove_left_behind(prefix: str) -> None:
    """Remove the folders of this user's processes that have ended without doing it."""
    with contextlib.suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
            with if_left_behind(folder / OWNER) as is_left_behind:
                if is_left_behind and folder.lstat().st_uid == os.geteuid():
                    shutil.rmtree(folder, ignore_errors=True)


def _remove(folder: Path, descriptor: int, owner: int) -> None:
    # A process that the owner has forked ends with the owner's finalizers.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)
