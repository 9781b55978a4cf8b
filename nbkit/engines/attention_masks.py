"""Attention masks of prompts that are computed at once, and of decode steps over a cache with a slot a sequence."""

from __future__ import annotations

from typing import Any

import torch

from nbkit.engines.attention_kinds import FULL, SLIDING


class AttentionMasks:
    """What each token may attend to, as numbers that are added to the scores: 0 or minus infinity.

    A bool mask would be turned into such numbers in every layer anew.
    """

    def __init__(self, config: Any, dtype: torch.dtype, device: torch.device) -> None:
        self._window: int | None = getattr(config, "sliding_window", None)
        self._by_layer = getattr(config, "layer_types", None) is not None and SLIDING in config.layer_types
        self._dtype = dtype
        self._device = device

    def of_prompts(self, width: int) -> Any:
        """For prompts of ``width`` tokens, shape (1, 1, width, width); None where plain causal attention will do."""
        if self._window is None or width <= self._window:
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
