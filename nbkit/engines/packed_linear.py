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
from nbkit.machine import emulates

PACKED_FOR = 64
"""Rows that the layout is chosen for; other numbers of rows are computed with it just as well."""


class PackedLinear(nn.Module):
    """``x @ weight.T + bias`` by oneDNN, with a packed copy of the weight."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], "")  # type: ignore[no-any-return]


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this processor's oneDNN multiplies packed weights of a dtype."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype in (torch.float32, torch.bfloat16, torch.float16) and not emulates(str(dtype).removeprefix("torch."))


def with_linear_layers(model: Any, make: Any) -> Any:
    """A copy of a model that shares its parameters, each linear layer replaced by ``make(layer)``."""
    twin = twin_of(model)
    for parent in list(twin.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                setattr(parent, name, make(child))
    return twin
