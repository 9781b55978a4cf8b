"""Reset: what a learner's sessions have left, so that the next one begins afresh; never anything of another user's.

Only what the kit has made is named: hosts of workers by what they run, temporary folders by their locks, in the
cache the kit's own entries. Everything has to be owned by this user; of the cache, and of results, it also has to lie
below the home folder, so that a cache or a course that all share stays.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbkit.errors import file_name
from nbkit.files.cache import cache_folder
from nbkit.files.owned_folder import remove_left_behind

HOST = "nbkit.runtime.launchers.host"
CACHED = ("models", "openvino", "proofs", "cpu_arithmetic.json", "device_speed.json")
"""What the kit puts into its cache."""
TEMPORARY = "nbkit-"
"""How the names of its temporary folders begin."""


@dataclass(frozen=True)
class Host:
    """A host of workers: its process, how many ranks it has, and when it was started, by which it is known again."""

    pid: int
    ranks: int
    started_s: float

    @property
    def in_words(self) -> str:
        """As a sentence names it."""
        return f"workers of process {self.pid} ({self.ranks} rank{'s' if self.ranks != 1 else ''})"


@dataclass(frozen=True)
class Leftovers:
    """What a reset would end and remove; ``kept`` says of what is left alone, and why."""

    hosts: list[Host]
    paths: list[Path]
    kept: list[str]


def find_leftovers(results: Sequence[Path] = ()) -> Leftovers:
    """Look; changes nothing.

    Parameters
    ----------
    results : sequence of Path
        Folders with results of the kit that are to go, too.
    """
    kept: list[str] = []
    asked = [*_cached(cache_folder(), kept), *results]
    return Leftovers(_hosts(), [path for path in asked if _is_own(path, kept)], kept)


def remove_leftovers(found: Leftovers) -> list[str]:
    """End the hosts with their ranks, remove the paths and the temporary folders of ended processes; what failed."""
    failed = []
    for host in found.hosts:
        _end(host)
    remove_left_behind(TEMPORARY)
    for path in found.paths:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            failed.append(f"{file_name(path)} is not all gone: {error.strerror or error}")
    return failed


def _hosts() -> list[Host]:
    import psutil

    found = []
    for process in psutil.process_iter():
        # Processes end while they are looked at, and some may not be.
        with contextlib.suppress(psutil.Error, OSError):
            is_host = process.uids().effective == os.geteuid() and HOST in " ".join(process.cmdline()[:3])
            # A host leads a session of its own; its ranks, forked from it, have its command line.
            if is_host and os.getsid(process.pid) == process.pid:
                found.append(Host(process.pid, len(process.children()), process.create_time()))
    return found


def _end(host: Host) -> None:
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(host.pid)
        if process.create_time() == host.started_s and os.getsid(host.pid) == os.getpgid(host.pid) == host.pid:
            os.killpg(host.pid, signal.SIGKILL)
            process.wait(5)


def _cached(cache: Path, kept: list[str]) -> Iterable[Path]:
    if not cache.is_dir():
        return []
    if not _is_below_home(cache):
        kept.append(f"the cache {file_name(cache)}: it is not below your home folder, so others may use it")
        return []
    names = [*CACHED, *(f"{name}.lock" for name in CACHED)]
    return [path for name in names if os.path.lexists(path := cache / name)]


def _is_own(path: Path, kept: list[str]) -> bool:
    """Whether it is there, this user's, no link, and below the home folder; says of what is there why it is kept."""
    try:
        found = path.lstat()
    except OSError:
        return False
    if path.is_symlink():
        kept.append(f"{file_name(path)}: it is a link")
    elif found.st_uid != os.geteuid():
        kept.append(f"{file_name(path)}: it is another user's")
    elif not _is_below_home(path):
        kept.append(f"{file_name(path)}: it is not below your home folder")
    else:
        return True
    return False


def _is_below_home(path: Path) -> bool:
    home = Path.home().resolve()
    return path.resolve() != home and path.resolve().is_relative_to(home)
