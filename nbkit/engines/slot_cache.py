"""Slot cache: a static KV cache with one slot a sequence, each filled as far as its own sequence is.

Transformers' own static cache writes one column for the whole batch, so that its
sequences must begin together and be padded on the left. Here each row writes at a
position of its own: a sequence takes any free slot, from position 0, and pads nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

ROUNDING = 64
"""Positions are allocated in multiples of this."""


class SlotCache:
    """Keys and values of all layers; memory is taken when a layer is first written.

    Parameters
    ----------
    layers : int
        Of the model.
    slots : int
        Sequences at once.
    """

    def __init__(self, layers: int, slots: int) -> None:
        self.slots = slots
        self.positions = 0
        self._layers = [_SlotLayer(slots) for _ in range(layers)]
        self.for_model = Cache(layers=self._layers)

    @property
    def bytes(self) -> int:
        """What keys and values take; 0 before they are first written."""
        return sum(layer.bytes for layer in self._layers)

    def grow(self, positions: int) -> None:
        """Have room for sequences of so many tokens, prompt and output together; what is there stays."""
        self.positions = -(-positions // ROUNDING) * ROUNDING
        for layer in self._layers:
            layer.grow(self.positions)

    def prefill_into(self, slots: torch.Tensor) -> None:
        """The next forward pass is of prompts, written into these slots (n,) from position 0."""
        for layer in self._layers:
            layer.write = _Prefill(slots)

    def decode_at(self, positions: torch.Tensor, length: int) -> None:
        """The next forward pass is of one token for each of the first n slots.

        Parameters
        ----------
        positions : torch.Tensor
            Where each slot's token goes, shape (n,).
        length : int
            Positions that are attended to, more than the largest of ``positions``.
        """
        rows = torch.arange(len(positions), device=positions.device)
        for layer in self._layers:
            layer.write = _Decode(rows, positions, length)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` positions of a slot into another."""
        for layer in self._layers:
            layer.keys[target, :, :length] = layer.keys[source, :, :length]
            layer.values[target, :, :length] = layer.values[source, :, :length]


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer, as transformers' models call it; ``keys`` are of shape (slots, KV heads, positions, head size)."""

    is_compileable = True

    def __init__(self, slots: int) -> None:
        super().__init__()
        self._slots = slots
        self._positions = 0
        self.keys: Any = None
        self.values: Any = None
        self.write: _Prefill | _Decode

    def grow(self, positions: int) -> None:
        self._positions = positions
        if self.keys is not None:
            self.keys, self.values = self._grown(self.keys), self._grown(self.values)

    @property
    def bytes(self) -> int:
        return 0 if self.keys is None else int(self.keys.nbytes + self.values.nbytes)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.keys is None:
            self.lazy_initialization(key_states, value_states)
        return self.write(self, key_states, value_states)

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.keys, self.values = self._like(key_states), self._like(value_states)
        self.is_initialized = True

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return self._positions

    # The name before transformers 5.20.
    get_max_cache_shape = get_max_length

    def _like(self, states: torch.Tensor) -> torch.Tensor:
        # One more than is ever read: a slice of all positions would be contiguous, and compiled anew for that.
        return states.new_zeros(self._slots, states.shape[1], self._positions + 1, states.shape[3])

    def _grown(self, kept: torch.Tensor) -> torch.Tensor:
        grown = self._like(kept)
        grown[:, :, : kept.shape[2]] = kept
        return grown


class _Prefill:
    """Writes whole prompts, which attend to nothing but themselves."""

    def __init__(self, slots: torch.Tensor) -> None:
        self._slots = slots

    def __call__(
        self, layer: _SlotLayer, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        layer.keys[self._slots, :, : keys.shape[2]] = keys
        layer.values[self._slots, :, : values.shape[2]] = values
        return keys, values


class _Decode:
    """Writes a token a slot and gives all that is kept of these slots."""

    def __init__(self, rows: torch.Tensor, positions: torch.Tensor, length: int) -> None:
        self._rows, self._positions, self._length = rows, positions, length

    def __call__(
        self, layer: _SlotLayer, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        layer.keys[self._rows, :, self._positions] = keys[:, :, 0]
        layer.values[self._rows, :, self._positions] = values[:, :, 0]
        n = len(self._positions)
        return layer.keys[:n, :, : self._length], layer.values[:n, :, : self._length]
