"""What this machine is: read without touching any device."""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import os
import platform
import re
import socket
from pathlib import Path
from typing import Any

from nbkit.errors import InputError, shorten
from nbkit.files import cgroups

YES, NO = ("1", "y", "yes", "t", "true", "on"), ("0", "n", "no", "f", "false", "off", "")
"""What accelerate takes for yes and no in the environment; to it, a blank is an error."""
MOST_THREADS = 2**31 - 1
"""torch counts threads in 32 bits."""
PACKAGES = ("nbkit", "torch", "transformers", "accelerate", "ipywidgets", "jupyterlab", "plotly", "anywidget")


MAX_RANKS, MAX_CORES = "NBKIT_MAX_RANKS", "NBKIT_MAX_CORES"
"""What an administrator of a shared node sets for each user: the most ranks, and cores for all of them together."""


def usable_cores(root: Path = Path("/")) -> int:
    """Processor cores this process may use: those of its affinity, within what a container or a batch job may use.

    And at most ``NBKIT_MAX_CORES`` of the environment. Linux tells of such a quota below ``root``,
    in the control groups of this process (version 1 or 2). Part of a core counts as one.
    """
    affine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(InputError):  # said where workers start
        affine = min(affine, most(MAX_CORES) or affine)
    return max(1, min([affine, *(math.ceil(cores) for cores in cgroups.cores(root))]))


def most(name: str) -> int | None:
    """A limit for each user of a shared node, from the environment: a whole number from 1 on; None if it is not set.

    Raises
    ------
    InputError
        It is no such number.
    """
    value = os.environ.get(name, "").strip()
    if not value:
        return None
    if not re.fullmatch("[0-9]{1,9}", value, re.ASCII) or int(value) < 1:
        raise InputError(f"{name}={shorten(value)} in the environment is no whole number of at least 1.")
    return int(value)


def uses_cpu() -> bool:
    """Whether ``ACCELERATE_USE_CPU`` in the environment keeps off the GPUs; read as accelerate reads it.

    Raises
    ------
    InputError
        It is neither a yes nor a no.
    """
    value = os.environ.get("ACCELERATE_USE_CPU", "").strip().lower()
    if value in YES or value in NO:
        return value in YES
    raise InputError(
        f"ACCELERATE_USE_CPU={shorten(os.environ['ACCELERATE_USE_CPU'])} in the environment is neither a yes "
        f"({', '.join(YES)}) nor a no ({', '.join(filter(None, NO))})."
    )


def speaks_for_all() -> bool:
    """Whether this process says what all ranks of its job would say: the first of them, or no rank at all."""
    return os.environ.get("RANK", "0") == "0"


def threads_asked() -> int | None:
    """The threads that ``OMP_NUM_THREADS`` asks for, None if it is not set or blank.

    OpenMP takes a list, of which the first number is for the outermost level, the only
    one that torch has.

    Raises
    ------
    InputError
        It is no number of threads.
    """
    value = os.environ.get("OMP_NUM_THREADS", "")
    if not value.strip():
        return None
    numbers = re.fullmatch(r"\s*\+?([0-9]{1,18})\s*(,\s*\+?[0-9]+\s*)*", value, re.ASCII)
    if numbers is None or not 1 <= int(numbers[1]) <= MOST_THREADS:
        raise InputError(f"OMP_NUM_THREADS={shorten(value)} in the environment is no number of threads.")
    return int(numbers[1])


def package_version(name: str) -> str | None:
    """The installed version of a package, or ``None``; the package is not imported."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor_name() -> str:
    """The processor's model name, as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def available_memory_bytes(root: Path = Path("/")) -> int:
    """Memory in bytes that can still be had without swapping, within what a container or a batch job may use.

    Linux tells of such a limit below ``root``, in the control groups of this process
    (version 1 or 2); elsewhere only the machine's memory counts.
    """
    import psutil

    return min([psutil.virtual_memory().available, *cgroups.memory_left(root)])


def describe() -> dict[str, Any]:
    """The machine a Run was made on: node, processor, cores, memory and versions."""
    import psutil

    return {
        "node": socket.gethostname(),
        "system": _system(),
        "processor": processor_name(),
        "cores": usable_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in PACKAGES},
    }


def _system() -> str:
    """As ``platform.platform()`` has it, without the process that it starts."""
    libc = "".join(platform.libc_ver())
    return "-".join([platform.system(), platform.release(), platform.machine(), *(["with", libc] if libc else [])])
