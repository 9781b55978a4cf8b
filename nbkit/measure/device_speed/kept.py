"""Kept: the speeds that were measured before, in a file."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from nbkit.files.atomic_write import write_atomically
from nbkit.files.cache import cache_folder
from nbkit.measure.device_speed.speed import DeviceSpeed
from nbkit.records.run import Run


def cache_file() -> Path:
    """Where measured speeds are kept."""
    return cache_folder() / "device_speed.json"


def entries() -> dict[str, DeviceSpeed]:
    """The speeds that are kept; none of a file that is damaged, and not the entries that are."""
    try:
        data: Any = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    sound = {}
    for key, fields in data.items() if isinstance(data, dict) else ():
        with contextlib.suppress(TypeError):
            speed = DeviceSpeed(**fields)
            if all(math.isfinite(rate) and rate > 0 for rate in (speed.bytes_per_s, speed.flops_per_s)):
                sound[key] = speed
    return sound


def keep(key: str, speed: DeviceSpeed) -> None:
    """Keep a speed beside those that are kept already.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    kept = entries() | {key: speed}
    write_atomically(
        cache_file(), json.dumps({name: dataclasses.asdict(each) for name, each in kept.items()}, indent=1)
    )


def speed_of(run: Run) -> DeviceSpeed | None:
    """The kept speed of one rank of a run, while all its ranks work; None where it is not known for sure.

    A run tells its processor, its devices, its dtype and torch's version, but neither a GPU's name nor
    its threads: where these leave a choice, nothing is known.
    """
    processor, torch_version = run.machine.get("processor"), (run.machine.get("packages") or {}).get("torch")
    if not run.ranks or not processor or not torch_version:
        return None
    is_gpu = not run.ranks[0].device.startswith("cpu")
    devices = len({rank.device for rank in run.ranks})
    meeting = f"; {run.world_size} ranks on {devices} devices; torch {_release(torch_version)}"
    found = [
        speed
        for key, speed in entries().items()
        if processor in key.split("; ")[0].split(" + ")
        and _release(key).endswith(meeting)
        and speed.dtype == run.dtype
        and (speed.name != processor) == is_gpu
    ]
    return found[0] if len(found) == 1 else None


def _release(version: str) -> str:
    """What ends with torch's version, without the build's (``+cpu``), which not every source of it tells."""
    before, plus, build = version.rpartition("+")
    return before if plus and " " not in build else version
