"""Merged linear layers: those that read the same input, computed as one product.

A GPU reads weights the faster the more one product has of them: of a model of Llama-2-7b's
shape three products of queries, keys and values at once take less time than one by one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from nbkit.engines.shared_copy import LinearLike

SAME_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Names, in transformers' models, of layers that one module calls with the same input, the first of them first."""


def merge_linear_layers(model: Any) -> None:
    """Replace layers that read the same input, in place.

    Their weights become parts of one, so that whoever shares them has them there, and none is there twice.
    """
    for parent in list(model.modules()):
        for names in SAME_INPUT:
            layers: list[Any] = [getattr(parent, name, None) for name in names]
            if _can_merge(layers):
                merged = _Merged(layers)
                for number, (name, layer) in enumerate(zip(names, layers, strict=True)):
                    setattr(parent, name, _Part(layer, merged, number))


def _can_merge(layers: list[Any]) -> bool:
    """Whether all are linear layers, all with a bias or none, with weights in no class of their own (quantised)."""
    if not all(type(layer) is nn.Linear and type(layer.weight.data) is torch.Tensor for layer in layers):
        return False
    return len({layer.bias is None for layer in layers}) == 1


class _Merged:
    """One weight, of which each layer's is a part, and the product as last computed."""

    def __init__(self, layers: list[nn.Linear]) -> None:
        self.weight = torch.cat([layer.weight.detach() for layer in layers])
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = torch.cat(biases) if biases else None
        self.sizes = [layer.out_features for layer in layers]
        self.products: tuple[torch.Tensor, ...] = ()
        for layer, part in zip(layers, torch.split(self.weight, self.sizes), strict=True):
            layer.weight.data = part


class _Part(LinearLike):
    """One of the layers: the first called computes for all."""

    def __init__(self, linear: nn.Linear, merged: _Merged, number: int) -> None:
        super().__init__(linear)
        self._merged = merged
        self._number = number

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self._number == 0:
            product = nn.functional.linear(x, self._merged.weight, self._merged.bias)
            self._merged.products = torch.split(product, self._merged.sizes, -1)
        return self._merged.products[self._number]
