"""Memory: what is free on a device, and what numbers and the KV cache take of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbkit.errors import InputError, shorten
from nbkit.files.machine import available_memory_bytes

if TYPE_CHECKING:
    import torch

ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of one number, by its dtype."""

USUAL_LAYERS, USUAL_WIDTH = 32, 4096
"""Of a model whose config names them otherwise: a 7-billion-parameter model's."""


def item_bytes(dtype: str) -> int:
    """Bytes of one number.

    Raises
    ------
    InputError
        The dtype is none of ``ITEM_BYTES``.
    """
    if dtype not in ITEM_BYTES:
        raise InputError(f"dtype must be one of {', '.join(ITEM_BYTES)}, not {shorten(dtype)}.")
    return ITEM_BYTES[dtype]


def free_bytes(device: torch.device) -> int:
    """Memory in bytes that can still be had on a device."""
    import torch

    if device.type != "cuda":
        return available_memory_bytes()
    # What torch holds of an earlier model without using it is not free to others, but to the next model.
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0] + kept)


def kv_bytes_per_position(layers: int, kv_width: int, dtype: str) -> int:
    """Bytes of keys and values that one position of one sequence has in the cache.

    Parameters
    ----------
    kv_width : int
        Numbers of a key, and as many of a value, in one layer: KV heads x head size.
    """
    return 2 * layers * kv_width * item_bytes(dtype)


def kv_bytes_of_config(config: Any, dtype: str) -> int:
    """``kv_bytes_per_position`` of any model, from its transformers config.

    Of one that names no heads, or other ones for each layer, as many as full attention of its width takes.
    """
    width = _number(config, "hidden_size") or USUAL_WIDTH
    heads = _number(config, "num_attention_heads")
    head_size = _number(config, "head_dim") or (width // heads if heads else None)
    kv_heads = _number(config, "num_key_value_heads") or heads
    kv_width = kv_heads * head_size if kv_heads and head_size else width
    return kv_bytes_per_position(_number(config, "num_hidden_layers") or USUAL_LAYERS, kv_width, dtype)


def _number(config: Any, name: str) -> int | None:
    try:
        value = getattr(config, name, None)
    except Exception:  # transformers has a class of its own for what differs from layer to layer
        return None
    return value if isinstance(value, int) else None
