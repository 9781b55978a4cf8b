"""Kept proofs: what holding an engine against a model has shown, kept on this machine until either changes."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
from pathlib import Path

import torch

from nbkit.engines.proof import Difference
from nbkit.errors import InputError
from nbkit.files.atomic_write import write_atomically
from nbkit.files.cache import cache_folder
from nbkit.files.machine import package_version, processor_name
from nbkit.models import LoadedModel, files_state

PACKAGES = ("torch", "transformers", "accelerate", "flash-attn", "torchao")
"""Whose versions decide what is computed."""


def file(loaded: LoadedModel, way: str) -> Path:
    """Where the proof of a way of computing with a model is kept: its name changes with all that it depends on."""
    model = str(loaded.folder.resolve()), files_state(loaded.folder)
    is_gpu = loaded.device.type == "cuda"
    device = torch.cuda.get_device_name(loaded.device) if is_gpu else processor_name()
    versions = [package_version(name) for name in PACKAGES]
    depends_on = (model, way, loaded.dtype, device, versions, _engines_code())
    return cache_folder() / "proofs" / f"{hashlib.sha256(repr(depends_on).encode()).hexdigest()[:24]}.json"


def read(path: Path) -> list[Difference] | None:
    """The differences that were found; None if nothing usable is kept."""
    try:
        return [Difference(float(each["found"]), float(each["allowed"])) for each in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def keep(path: Path, found: list[Difference]) -> None:
    """Keep what was found. Where nothing can be written, the next process finds it anew."""
    with contextlib.suppress(OSError, InputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps([dataclasses.asdict(each) for each in found]))


@functools.cache
def _engines_code() -> str:
    """A digest of the engines' own code and of what they compute with: another loop is proven anew."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for source in sorted([*package.glob("engines/*.py"), *package.glob("models/*.py")]):
        digest.update(source.read_bytes())
    return digest.hexdigest()
