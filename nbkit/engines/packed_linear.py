"""Packed weights: linear layers whose weights are laid out once as the processor's matrix library wants them.

torch hands oneDNN plain weights, which it lays out anew for each product. torch.compile
can pack them ahead ('freezing'), after half a minute of compiling for each shape; the
operators that it then calls are used here without it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from nbkit.engines.model_twin import twin_of
from nbkit.files.machine import emulates

PACKED_FOR = 64
"""Rows that the layout is chosen for; other numbers of rows are computed with it just as well."""


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


class PackedLinear(LinearLike):
    """``x @ weight.T + bias`` by oneDNN, with a packed copy of the weight."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), PACKED_FOR)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")  # type: ignore[no-any-return]


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this processor's oneDNN multiplies packed weights of a dtype."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype in (torch.float32, torch.bfloat16, torch.float16) and not emulates(str(dtype).removeprefix("torch."))


def with_linear_layers(model: Any, make: Any) -> Any:
    """A copy of a model that shares its parameters, each plain linear layer replaced by ``make(layer)``.

    Layers of classes derived from ``nn.Linear`` stay: they compute something else with their weights.
    """
    twin = twin_of(model)
    for parent in list(twin.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear:
                setattr(parent, name, make(child))
    return twin
