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
