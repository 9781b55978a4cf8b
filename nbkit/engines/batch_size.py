"""The batch size that ``auto`` stands for: as many sequences as fit into memory, evenly dealt."""

from __future__ import annotations

from typing import Any

from nbkit.inference import schedule
from nbkit.models import LoadedModel
from nbkit.models.weights_size import free_bytes
from nbkit.records.settings import Settings

SHARE_OF_FREE = 0.6
"""Of the memory that is free; the rest is for what a step computes with, and for others."""

MOST_CONTINUOUS = 32
"""Without flash attention, transformers' continuous batching multiplies the queries of all by the keys of all."""

LOGITS_COPIES = 4
"""Rows of the vocabulary's size, in float32, that sampling may hold for each sequence."""

USUAL_LAYERS, USUAL_WIDTH = 32, 4096
"""Of a model whose config names them otherwise: a 7-billion-parameter model's."""


def sequences_that_fit(settings: Settings, loaded: LoadedModel, longest: int, sharing: int) -> int:
    """The most sequences that a rank's memory holds at once, at least 1.

    Parameters
    ----------
    longest : int
        Tokens of the longest prompt.
    sharing : int
        Ranks that share the device's memory.
    """
    config = loaded.config.get_text_config()
    sequence = (longest + settings.max_new_tokens) * _kv_bytes(config, loaded) + 4 * LOGITS_COPIES * config.vocab_size
    most = schedule.MOST_SEQUENCES
    if settings.engine == "continuous" and loaded.device.type == "cpu":
        most = MOST_CONTINUOUS
    return max(1, min(most, int(SHARE_OF_FREE * free_bytes(loaded.device) / sharing / sequence)))


def _kv_bytes(config: Any, loaded: LoadedModel) -> int:
    """Bytes of the KV cache for one position.

    Of a model that names no heads, or other ones for each layer, as many as full attention of its width takes.
    """
    import torch

    width = _number(config, "hidden_size") or USUAL_WIDTH
    heads = _number(config, "num_attention_heads")
    head_size = _number(config, "head_dim") or (width // heads if heads else None)
    kv_heads = _number(config, "num_key_value_heads") or heads
    kv_width = kv_heads * head_size if kv_heads and head_size else width
    layers = _number(config, "num_hidden_layers") or USUAL_LAYERS
    return int(2 * layers * kv_width * getattr(torch, loaded.dtype).itemsize)


def _number(config: Any, name: str) -> int | None:
    try:
        value = getattr(config, name, None)
    except Exception:  # transformers has a class of its own for what differs from layer to layer
        return None
    return value if isinstance(value, int) else None
