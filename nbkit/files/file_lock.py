"""File lock: how one process tells whether the one that made a file still lives, whoever ended it and however.

The system gives up a process's locks with the process, on whichever machine that was. Where a
file system knows no locks nothing is ever taken for left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def lock(descriptor: int) -> None:
    """Hold the lock of an open file until it is closed; wait for whoever looks at it."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)


@contextlib.contextmanager
def if_left_behind(file: Path) -> Iterator[bool]:
    """Whether ``file`` is this user's and nobody holds its lock; if so it is held meanwhile."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        yield False
        return
    try:
        yield _is_own(descriptor) and _is_free(descriptor) and is_still_at(descriptor, file)
    finally:
        os.close(descriptor)


def is_still_at(descriptor: int, file: Path) -> bool:
    """Whether an open file is the one that has this name: another process may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.lstat())
    except OSError:
        return False


def _is_own(descriptor: int) -> bool:
    return os.fstat(descriptor).st_uid == os.geteuid()


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
