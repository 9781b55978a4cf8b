"""Ordering: the outputs of all parts in one file, in the prompts' order."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nbkit.errors import WorkersError
from nbkit.inference.bulk.folder import BulkFolder
from nbkit.inference.bulk.lines import heads

MOST_OPEN = 100
"""Files at a time: an attempt has one for each rank."""
_NO_PART = -1


def order_outputs(folder: BulkFolder, total: int) -> None:
    """Write ``outputs.jsonl``, whole or not at all.

    Where the line of each prompt begins stands in a file meanwhile, not in memory.

    Raises
    ------
    WorkersError
        A prompt has no output; this would be a mistake in nbkit.
    OSError
        There is no room: the parts are what they were.
    """
    parts = folder.part_files()
    places = folder.path / "places.partial"
    partial = folder.path / "outputs.partial"
    try:
        _note_places(parts, places, total)
        with partial.open("wb") as file:
            _copy_in_order(parts, places, total, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, folder.outputs)
        _sync_folder(folder.path)
    finally:
        places.unlink(missing_ok=True)
        partial.unlink(missing_ok=True)


def _note_places(parts: Sequence[Path], places: Path, total: int) -> None:
    """Write the part and the offset of each prompt's first line, shape (total, 2)."""
    if not total:
        return
    with places.open("wb") as file:
        # Written, not left as a hole: where there is no room it is an error here, and no signal later.
        blank = np.full((1, 2), _NO_PART, dtype=np.int64).tobytes()
        for begin in range(0, total, 4096):
            file.write(blank * min(4096, total - begin))
    noted = np.memmap(places, dtype=np.int64, mode="r+", shape=(total, 2))
    for number, path in enumerate(parts):
        with path.open("rb") as lines:
            for offset, head in heads(lines):
                if head.index < total and noted[head.index, 0] == _NO_PART:
                    noted[head.index] = number, offset
    noted.flush()


def _copy_in_order(parts: Sequence[Path], places: Path, total: int, file: BinaryIO) -> None:
    files: OrderedDict[int, BinaryIO] = OrderedDict()
    try:
        with places.open("rb") if total else open(os.devnull, "rb") as noted:
            for index in range(total):
                number, offset = np.frombuffer(noted.read(16), dtype=np.int64).tolist()
                if number == _NO_PART:
                    raise WorkersError(
                        f"prompt {index} has neither an output nor an error in {parts[0].parent}. "
                        "This is a mistake in nbkit; please report it."
                    )
                part = _opened(files, number, parts[number])
                part.seek(offset)
                file.write(part.readline())
    finally:
        for part in files.values():
            part.close()


def _opened(files: OrderedDict[int, BinaryIO], number: int, path: Path) -> BinaryIO:
    if number not in files:
        if len(files) >= MOST_OPEN:
            files.popitem(last=False)[1].close()
        files[number] = path.open("rb")
    files.move_to_end(number)
    return files[number]


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
