"""The size of a model's weights: read from the files' headers, before anything is loaded."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbkit.errors import ModelError
from nbkit.models.memory import free_bytes, item_bytes

if TYPE_CHECKING:
    import torch

LENGTH = struct.Struct("<Q")
"""What a safetensors file begins with: the bytes of the JSON header that follows."""

MOST_HEADER_BYTES = 100_000_000
"""The format's own limit."""

CONVERTED = ("F64", "F32", "F16", "BF16")
"""Stored dtypes that loading converts; others (whole numbers, 8-bit floats) are quantised weights and stay."""

SMALLER = "bfloat16"


def check_fits(name: str, folder: Path, device: torch.device, dtype: str) -> None:
    """Refuse a model whose weights are larger than the memory that is free on a device.

    Each rank counts for itself: that others load at the same moment is not known here.
    Headers that cannot be read are left to the loader, whose error says more.

    Raises
    ------
    ModelError
        The weights do not fit; the message says how much they need and how much is free.
    """
    try:
        needed = weights_bytes(folder, dtype)
        smaller = weights_bytes(folder, SMALLER)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return
    free = free_bytes(device)
    if needed <= free:
        return
    hint = f", a smaller dtype ({SMALLER} needs {_gb(smaller)})" if smaller < needed and smaller <= free else ""
    raise ModelError(
        f"model {name!r} does not fit on {device} in {dtype}: its weights need {_gb(needed)} and {_gb(free)} "
        f"are free. Take a smaller model{hint} or fewer workers."
    )


def weights_bytes(folder: Path, dtype: str) -> int:
    """The bytes that a folder's weights take once they are loaded in a dtype.

    Raises
    ------
    OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError
        A header is damaged, in whatever way.
    """
    each = item_bytes(dtype)
    return sum(
        _tensor_bytes(tensor, each)
        for path in weight_files(folder)
        for name, tensor in read_header(path).items()
        if name != "__metadata__"
    )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers loads: one whole file, else the shards that the index names.

    Some folders hold the same weights a second time, in another maker's layout.
    """
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file() or not index.is_file():
        return [whole]
    shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    return [folder / shard for shard in sorted(set(shards))]


def read_header(path: Path) -> dict[str, Any]:
    """What a safetensors file says of its tensors: name to dtype, shape and offsets.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or does not begin with a header.
    """
    with path.open("rb") as file:
        start = file.read(LENGTH.size)
        length = LENGTH.unpack(start)[0] if len(start) == LENGTH.size else 0
        # A damaged length could ask for more memory than there is.
        if not 0 < length <= MOST_HEADER_BYTES:
            raise ValueError(f"{path} does not begin with the length of a header.")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError(f"the header of {path} is no JSON object.")
    return header


def _tensor_bytes(tensor: dict[str, Any], number_bytes: int) -> int:
    if tensor["dtype"] in CONVERTED:
        elements: int = math.prod(tensor["shape"])
        return elements * number_bytes
    begin, end = tensor["data_offsets"]
    return int(end) - int(begin)


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"
