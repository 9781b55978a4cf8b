"""Own process: a module of nbkit run as a program, outside any group of ranks, for what is built once."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from nbkit.errors import LONGEST_REASON

PACKAGE_PARENT = str(Path(__file__).parents[2])
OF_A_RANK = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_",
    "GROUP_",
    "ROLE_",
    "NODE_RANK",
    "MASTER_",
    "TORCHELASTIC_",
    "ACCELERATE_",
)
"""What makes a process one of several: transformers writes weights on the first of them alone."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class BuildFailed(Exception):
    """The program ended with an error; the message is its last line."""


def run_module(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
    """Run ``python -m module arguments`` to its end, with none of a rank's variables in its environment.

    Raises
    ------
    OSError
        It says that there is no room for its files.
    BuildFailed
        It failed for another reason.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OF_A_RANK)}
    # This nbkit, wherever it was found, and the packages that the notebook finds; -P leaves out the working
    # directory, in which a file may have a package's name.
    paths = [path for path in sys.path if path and os.pathsep not in path]
    if PACKAGE_PARENT not in paths:
        paths.insert(0, PACKAGE_PARENT)
    ran = subprocess.run(
        [sys.executable, "-P", "-m", module, *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**kept, "PYTHONPATH": os.pathsep.join(paths), **(environment or {})},
    )
    if ran.returncode == 0:
        return
    # Libraries raise classes of their own for it, with the system's words in them.
    for number in NO_ROOM:
        if os.strerror(number) in ran.stderr:
            raise OSError(number, os.strerror(number))
    ended = f"it was ended by signal {-ran.returncode}" if ran.returncode < 0 else "no word of why"
    last_line = (ran.stderr.strip().splitlines() or [ended])[-1]
    raise BuildFailed(last_line[:LONGEST_REASON])
