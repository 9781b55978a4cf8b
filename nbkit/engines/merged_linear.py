"""Merged linear layers: those that read the same input, computed as one product.

A GPU reads weights the faster the more one product has of them: of a model of Llama-2-7b's
shape three products of queries, keys and values at once take less time than one by one. On
a CPU an input that has to be turned into another dtype for its product is so once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from nbkit.engines.shared_copy import LinearLike, replace_linear_layers, shared_copy

SAME_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Names, in transformers' models, of layers that one module calls with the same input, the first of them first."""


def with_merged_layers(model: Any, make: Callable[[nn.Linear], LinearLike]) -> Any:
    """A shared copy of a model, plain linear layers merged where they can be, each replaced by ``make(layer)``.

    What that multiplies with is its own; the layers' weights stay where they are, shared by all who have them.
    """
    copied = shared_copy(model)
    for parent, names, layers in _mergeable(copied):
        made = make(_merged(layers))
        del made.weight  # nobody asks the merged layer for it, and it would be there twice
        _replace(parent, names, layers, made)
    replace_linear_layers(copied, make)
    return copied


def merge_linear_layers(model: Any) -> None:
    """Replace layers that read the same input, in place.

    Their weights become parts of one, so that whoever shares them has them there, and none is there twice.
    """
    for parent, names, layers in _mergeable(model):
        merged = _merged(layers)
        for layer, part in zip(layers, torch.split(merged.weight.detach(), _sizes(layers)), strict=True):
            layer.weight.data = part
        _replace(parent, names, layers, merged)


def _mergeable(model: Any) -> Iterator[tuple[nn.Module, tuple[str, ...], list[Any]]]:
    for parent in list(model.modules()):
        for names in SAME_INPUT:
            layers: list[Any] = [getattr(parent, name, None) for name in names]
            if _can_merge(layers):
                yield parent, names, layers


def _replace(parent: nn.Module, names: tuple[str, ...], layers: list[nn.Linear], merged: nn.Module) -> None:
    product = _Product(merged, _sizes(layers))
    for number, (name, layer) in enumerate(zip(names, layers, strict=True)):
        setattr(parent, name, _Part(layer, product, number))


def _sizes(layers: list[nn.Linear]) -> list[int]:
    return [layer.out_features for layer in layers]


def _can_merge(layers: list[Any]) -> bool:
    """Whether all are linear layers, all with a bias or none, with weights in no class of their own (quantised)."""
    if not all(type(layer) is nn.Linear and type(layer.weight.data) is torch.Tensor for layer in layers):
        return False
    return len({layer.bias is None for layer in layers}) == 1


def _merged(layers: list[nn.Linear]) -> nn.Linear:
    """One layer in place of several."""
    with torch.device("meta"):
        merged = nn.Linear(layers[0].in_features, sum(_sizes(layers)), bias=False)
    merged.weight = nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]), requires_grad=False)
    biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
    if biases:
        merged.bias = nn.Parameter(torch.cat(biases), requires_grad=False)
    return merged


class _Product:
    """What a merged layer made of its last input: of each layer the part that it has not taken yet."""

    def __init__(self, merged: nn.Module, sizes: list[int]) -> None:
        self._merged = merged
        self._sizes = sizes
        self._input: torch.Tensor | None = None
        self._parts: dict[int, torch.Tensor] = {}

    def take(self, number: int, x: torch.Tensor) -> torch.Tensor:
        """The part of one of the layers; the first that asks for it with an input has it computed for all."""
        if self._input is not x or number not in self._parts:
            self._input = x
            self._parts = dict(enumerate(torch.split(self._merged(x), self._sizes, -1)))
        part = self._parts.pop(number)
        if not self._parts:
            self._input = None
        return part


class _Part(LinearLike):
    """One of the layers."""

    def __init__(self, linear: nn.Linear, product: _Product, number: int) -> None:
        super().__init__(linear)
        self._product = product
        self._number = number

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._product.take(self._number, x)
