"""Doctor: what this machine has, what the kit will use, what is missing and how to get it."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass

from nbkit import models
from nbkit.errors import InputError
from nbkit.files import machine
from nbkit.files.cache import cache_folder
from nbkit.models.embedded import BUILD_BYTES, how_to_get_smollm2
from nbkit.records.engine_spec import ENGINES

NEEDED = ("torch", "transformers", "accelerate", "cloudpickle", "psutil", "rich", "typer")
FOR_NOTEBOOKS = ("jupyterlab", "ipywidgets", "plotly", "anywidget")
ROOM_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: what was found, and the remedy where something is missing."""

    what: str
    found: str
    remedy: str = ""
    is_broken: bool = False
    is_extra: bool = False

    @property
    def mark(self) -> str:
        """``ok``, ``!`` (something will not work), ``-`` (an extra is not there) or ``x`` (nbkit cannot run)."""
        if self.is_broken:
            return "x"
        if self.is_extra and self.remedy:
            return "-"
        return "!" if self.remedy else "ok"


def examine() -> list[Check]:
    """Look at this machine; changes nothing."""
    return [
        _python(),
        _processor(),
        _memory(),
        *(_package(name, is_needed=True) for name in NEEDED),
        *(_package(name, is_needed=False) for name in FOR_NOTEBOOKS),
        *(_engine(name) for name, spec in ENGINES.items() if spec.packages),
        _devices(),
        *_limits(),
        _embedded_model(),
        _cache(),
    ]


def how_to_get_engine(engine: str) -> str | None:
    """How to install what an engine needs; None if it is there, or nothing is needed."""
    spec = ENGINES[engine]
    return None if _engine_version(engine) or not spec.packages else spec.how_to_install


def engine_label(engine: str) -> str:
    """An engine's name, marked where its package is not installed."""
    return engine if how_to_get_engine(engine) is None else f"{engine} (not installed)"


def _engine_version(engine: str) -> str | None:
    """The package that an engine needs and its version, if it is installed."""
    versions = {name: machine.package_version(name) for name in ENGINES[engine].packages}
    return next((f"{name} {version}" for name, version in versions.items() if version), None)


def _engine(name: str) -> Check:
    found = _engine_version(name) or "not installed: an extra"
    return Check(f"engine {name}", found, how_to_get_engine(name) or "", is_extra=True)


def _python() -> Check:
    version = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    if not hasattr(os, "fork"):
        return Check("system", sys.platform, "use Linux, macOS or WSL: the launcher forks its ranks", is_broken=True)
    return Check("Python", f"{version} on {sys.platform}")


def _processor() -> Check:
    found = f"{machine.processor_name()}, {machine.usable_cores()} usable cores"
    if machine.package_version("torch") is None:
        return Check("processor", found)
    from nbkit.models.torch_private import emulates

    return Check("processor", found + "; no bfloat16 arithmetic: float32 is faster on it" * emulates("bfloat16"))


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    found = f"{memory.available / 1e9:.1f} GB free of {memory.total / 1e9:.1f} GB"
    if memory.available < ROOM_BYTES:
        return Check("memory", found, "close other programs: two CPU workers with the embedded model want 2 GB")
    return Check("memory", found)


def _package(name: str, is_needed: bool) -> Check:
    version = machine.package_version(name)
    if version is not None:
        return Check(name, version)
    if is_needed:
        return Check(name, "not installed", f"python -m pip install {name}", is_broken=True)
    remedy = 'python -m pip install "nbkit[lab]" (for notebooks, dashboards and figures)'
    return Check(name, "not installed: an extra", remedy, is_extra=True)


def _devices() -> Check:
    if machine.package_version("torch") is None:
        return Check("GPUs", "unknown without torch")
    import torch

    count = torch.cuda.device_count()
    try:
        if machine.uses_cpu():
            return Check("GPUs", f"{count}; 2 CPU workers will be used, as ACCELERATE_USE_CPU asks")
    except InputError as error:
        return Check(
            "GPUs", f"{count}; no worker can start: {error}", "unset ACCELERATE_USE_CPU, or set it to 1 or 0"
        )
    if count:
        names = ", ".join(sorted({torch.cuda.get_device_name(i) for i in range(count)}))
        return Check("GPUs", f"{count} ({names}); one worker each will be used")
    if shutil.which("nvidia-smi"):
        return Check(
            "GPUs",
            "none that torch sees; 2 CPU workers will be used",
            "there is an NVIDIA driver: install a CUDA build of torch, and look at CUDA_VISIBLE_DEVICES",
        )
    return Check("GPUs", "none; 2 CPU workers will be used")


def _limits() -> list[Check]:
    """What an administrator has set for each user of a shared node; nothing where nothing is."""
    checks = []
    for name in (machine.MAX_RANKS, machine.MAX_CORES):
        try:
            if limit := machine.most(name):
                what = "workers" if name == machine.MAX_RANKS else "cores for all workers together"
                checks.append(Check("limit", f"{name}={limit}: at most so many {what}"))
        except InputError as error:
            checks.append(Check("limit", f"no worker can start: {error}", f"unset {name}, or set it to a number"))
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        checks.append(Check("limit", f"CUDA_VISIBLE_DEVICES={visible}: only these GPUs are used"))
    return checks


def _embedded_model() -> Check:
    name = models.EMBEDDED[0]
    if models.local_folder(name) is not None:
        return Check("embedded model", f"{name} is prepared")
    if commands := how_to_get_smollm2():
        return Check("embedded model", "not all installed", " && ".join(commands))
    return Check("embedded model", f"{name} is installed; its first use prepares it in about 20 s")


def _cache() -> Check:
    folder = cache_folder()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    found = f"{folder}, {free / 1e9:.0f} GB free"
    if not os.access(there, os.W_OK) or free < BUILD_BYTES[models.EMBEDDED[0]]:
        return Check("cache", found, "set NBKIT_CACHE to a folder that can be written and has 1 GB free")
    return Check("cache", found)
