"""Shared copy: a model's copy that shares its parameters, to be changed where the model itself must stay as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def shared_copy(model: Any) -> Any:
    """A copy whose modules are its own and whose parameters and buffers are the model's."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


class LinearLike(nn.Module):
    """What stands in for a linear layer: it computes in its own way and has all that others read of the layer.

    ``weight`` and ``bias`` are the layer's own, shared: a router looks at the dtype, a
    tied head multiplies by the weight.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias


def with_linear_layers(model: Any, make: Callable[[nn.Linear], nn.Module]) -> Any:
    """A shared copy of a model, each plain linear layer replaced by ``make(layer)``.

    Layers of classes derived from ``nn.Linear`` stay: they compute something else with their weights.
    """
    copied = shared_copy(model)
    replace_linear_layers(copied, make)
    return copied


def replace_linear_layers(model: Any, make: Callable[[nn.Linear], nn.Module]) -> None:
    """The same in place."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear:
                setattr(parent, name, make(child))
