"""Attention kinds: what a model's layers keep, and whether an engine with a KV cache of its own can serve it."""

from __future__ import annotations

from nbkit.errors import InputError
from nbkit.models import LoadedModel

FULL, SLIDING = "full_attention", "sliding_attention"


def check_attention(loaded: LoadedModel) -> None:
    """Refuse a model whose layers such an engine cannot serve.

    Raises
    ------
    InputError
        It has other layers than full and sliding attention, or no common attention interface.
    """
    kinds = set(getattr(loaded.config.get_text_config(), "layer_types", None) or ()) - {FULL, SLIDING}
    if kinds or not getattr(loaded.model, "_supports_attention_backend", False):
        found = f"has layers of {', '.join(sorted(kinds))}" if kinds else "computes attention in a way of its own"
        raise InputError(f"it knows full and sliding attention only, and {type(loaded.model).__name__} {found}.")
