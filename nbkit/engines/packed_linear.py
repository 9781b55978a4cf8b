"""Packed weights: linear layers whose weights are laid out once as the processor's matrix library wants them.

torch hands oneDNN plain weights, which it lays out anew for each product. torch.compile
can pack them ahead ('freezing'), after half a minute of compiling for each shape; the
operators that it then calls are used here without it.
"""

from __future__ import annotations

import torch
from torch import nn

from nbkit.engines.shared_copy import LinearLike
from nbkit.models.torch_private import emulates, pack_weight, packed_linear

PACKED_FOR = 64
"""Rows that the layout is chosen for; other numbers of rows are computed with it just as well."""


class PackedLinear(LinearLike):
    """``x @ weight.T + bias`` by oneDNN, with a packed copy of the weight."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        self._packed = pack_weight(linear.weight.detach(), PACKED_FOR)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return packed_linear(x, self._packed, self.bias)


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this processor's oneDNN multiplies packed weights of a dtype."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype in (torch.float32, torch.bfloat16, torch.float16) and not emulates(str(dtype).removeprefix("torch."))
