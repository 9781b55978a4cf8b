"""Kept model: the model that a rank keeps from job to job."""

from __future__ import annotations

import os
import time
from typing import Any

from nbkit import models
from nbkit.models import EMBEDDED, LoadedModel
from nbkit.runtime.context import JobContext

KEPT = "model"


def load_model(
    job: JobContext, name: str, dtype: str, device: Any, with_weights: bool = True
) -> tuple[LoadedModel, float]:
    """The model, kept between jobs, and the seconds it took to load it now (0 if it was there).

    Raises
    ------
    ModelError
        As for ``nbkit.models.load``.
    """
    if name not in EMBEDDED and os.path.isdir(folder := os.path.expanduser(name)):
        # The same name is another model in another working directory.
        name = os.path.realpath(folder)
    key = (name, models.resolve_dtype(dtype, device), with_weights)
    kept = job.kept.get(KEPT)
    if kept is not None and kept[0] == key:
        return kept[1], 0.0
    # Dropped before the next one is loaded, so that two never need memory at once.
    del kept
    job.kept.pop(KEPT, None)
    began = time.monotonic()
    loaded = models.load(name, dtype, device, on_wait=print, with_weights=with_weights, sharing=job.info.sharing)
    job.kept[KEPT] = (key, loaded)
    if loaded.is_emulated and job.rank == job.ranks[0]:
        print(f"This processor has no arithmetic for {loaded.dtype}: float32 is faster here.")
    return loaded, time.monotonic() - began
