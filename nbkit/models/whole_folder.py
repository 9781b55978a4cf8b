"""Whole folder: whether all of a model that was built is there, told without loading it."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from nbkit.models.weights_size import LENGTH, read_header, weight_files

NEEDED = ("config.json", "tokenizer.json", "tokenizer_config.json")


def why_not_whole(folder: Path) -> str | None:
    """What a folder with a model and its tokenizer lacks, in a sentence without its stop; None if nothing."""
    try:
        state = tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder.iterdir()))
    except OSError as error:
        return f"{folder} cannot be read: {error.strerror or error}"
    return _look(folder, state)


# A tokenizer of megabytes is not read again at each call; the state only tells one from another.
@lru_cache(maxsize=16)
def _look(folder: Path, state: tuple[tuple[str, int, int], ...]) -> str | None:
    try:
        for name in {*NEEDED, *(name for name, _, _ in state if name.endswith(".json"))}:
            if not isinstance(json.loads((folder / name).read_bytes()), dict):
                return f"{name} holds no JSON object"
        for file in weight_files(folder):
            if file.stat().st_size != _told_bytes(file):
                return f"{file.name} has another size than its header says"
    except OSError as error:
        return f"{error.filename or folder}: {error.strerror or error}"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return f"a file in {folder} is damaged: {error}"
    return None


def _told_bytes(file: Path) -> int:
    """How large a safetensors file is by its own header."""
    header = read_header(file)
    with file.open("rb") as opened:
        header_bytes: int = LENGTH.unpack(opened.read(LENGTH.size))[0]
    ends = [int(tensor["data_offsets"][1]) for name, tensor in header.items() if name != "__metadata__"]
    if not ends:
        raise ValueError(f"{file.name} holds no weights")
    return LENGTH.size + header_bytes + max(ends)
