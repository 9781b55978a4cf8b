"""Attention masks of prompts that are computed at once, and of decode steps over a cache with a slot a sequence.

A model whose layers attend in other ways than these masks tell is refused.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

from nbkit.engines.grouped_attention import NAME as GROUPED
from nbkit.engines.transformers_private import attention_of, has_common_attention
from nbkit.errors import InputError
from nbkit.models import LoadedModel

FULL, SLIDING = "full_attention", "sliding_attention"

MASKS_BY_ITSELF = ("sdpa", GROUPED)
"""Implementations of attention that take no mask for a causal one; the others, eager ones first, for none at all."""


def check_attention(loaded: LoadedModel) -> None:
    """Refuse a model whose layers an engine with a KV cache of its own cannot serve.

    Raises
    ------
    InputError
        It has other layers than full and sliding attention, or no common attention interface.
    """
    kinds = set(getattr(loaded.config.get_text_config(), "layer_types", None) or ()) - {FULL, SLIDING}
    if kinds or not has_common_attention(loaded.model):
        found = f"has layers of {', '.join(sorted(kinds))}" if kinds else "computes attention in a way of its own"
        raise InputError(f"it knows full and sliding attention only, and {type(loaded.model).__name__} {found}.")


class AttentionMasks:
    """What each token may attend to, as numbers that are added to the scores: 0 or minus infinity.

    A bool mask would be turned into such numbers in every layer anew.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Its config tells which layers have a window, and its attention whether it masks by itself.
    """

    def __init__(self, model: Any, dtype: torch.dtype, device: torch.device) -> None:
        config = model.config.get_text_config()
        kinds = getattr(config, "layer_types", None)
        self._by_layer = SLIDING in (kinds or ())
        self._window = config.sliding_window if self._by_layer or (kinds is None and _has_window(model)) else None
        self._masks_by_itself = attention_of(model) in MASKS_BY_ITSELF
        self._dtype = dtype
        self._device = device

    def of_prompts(self, width: int) -> Any:
        """For prompts of ``width`` tokens, shape (1, 1, width, width); None where the model masks causally itself."""
        if self._masks_by_itself and (self._window is None or width <= self._window):
            return {FULL: None, SLIDING: None} if self._by_layer else None
        return self._masks(torch.arange(width, device=self._device)[None, :, None], width)

    def of_step(self, positions: torch.Tensor, length: int) -> Any:
        """For one token of each sequence, at ``positions`` (n,), shape (n, 1, 1, length)."""
        return self._masks(positions[:, None, None], length)

    def _masks(self, queries: torch.Tensor, length: int) -> Any:
        keys = torch.arange(length, device=self._device)
        causal = keys <= queries
        if self._window is None:
            return self._added(causal)
        sliding = self._added(causal & (keys > queries - self._window))
        return {FULL: self._added(causal), SLIDING: sliding} if self._by_layer else sliding

    def _added(self, may_attend: torch.Tensor) -> torch.Tensor:
        added = torch.zeros(may_attend.shape, dtype=self._dtype, device=self._device)
        return added.masked_fill_(~may_attend, -torch.inf)[:, None]


def _has_window(model: Any) -> bool:
    """Whether all layers have a window: the config names one, and the model's code makes masks for it.

    Without ``layer_types`` a config may keep a number that no layer uses.
    """
    code = sys.modules[type(model.base_model).__module__]
    has_number = getattr(model.config.get_text_config(), "sliding_window", None) is not None
    return has_number and hasattr(code, "create_sliding_window_causal_mask")
