"""The batch size that ``auto`` stands for: as many sequences as fit into memory, evenly dealt."""

from __future__ import annotations

from nbkit.models import LoadedModel
from nbkit.models.memory import free_bytes, kv_bytes_of_config
from nbkit.records.engine_spec import MOST_SEQUENCES
from nbkit.records.settings import Settings

SHARE_OF_FREE = 0.6
"""Of the memory that is free; the rest is for what a step computes with, and for others."""

LOGITS_COPIES = 4
"""Rows of the vocabulary's size, in float32, that sampling may hold for each sequence."""


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
    positions = longest + settings.max_new_tokens
    sequence = positions * kv_bytes_of_config(config, loaded.dtype) + 4 * LOGITS_COPIES * config.vocab_size
    is_cpu = loaded.device.type == "cpu"
    most = settings.engine_spec.most_sequences_on_cpu if is_cpu else MOST_SEQUENCES
    free = (free_bytes(loaded.device) + loaded.spare_bytes) / sharing - _to_prepare_bytes(settings, loaded)
    return max(1, min(most, int(SHARE_OF_FREE * free / sequence)))


def _to_prepare_bytes(settings: Settings, loaded: LoadedModel) -> int:
    """What the engine is yet to take for weights of its own."""
    if settings.engine != "compiled":
        return 0
    # It needs torch, which who imports this may do without.
    from nbkit.engines.slot_decoder import bytes_to_prepare

    return bytes_to_prepare(loaded, settings.quantization)
