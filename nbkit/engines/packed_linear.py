"""Packed weights: linear layers whose weights are laid out once as the processor's matrix library wants them.

torch hands oneDNN plain weights, which it lays out anew for each product. torch.compile
can pack them ahead ('freezing'), after half a minute of compiling for each shape; the
operators that it then calls are used here without it.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

from nbkit.engines.cpu_arithmetic import NEVER, PACKED_FOR, float32_from
from nbkit.engines.merged_linear import with_merged_layers
from nbkit.engines.rounded_rows import with_rounded_rows
from nbkit.engines.shared_copy import LinearLike
from nbkit.models.torch_private import emulates, pack_weight, packed_linear

PACKED = (torch.float32, torch.bfloat16, torch.float16)
"""Dtypes of weights that can be packed."""


class PackedLinear(LinearLike):
    """``x @ weight.T + bias`` by oneDNN, with packed copies of the weight.

    Parameters
    ----------
    wide_from : int
        Rows from which on numbers of 16 bits are multiplied in float32, with a copy of the weight in it.
    """

    def __init__(self, linear: nn.Linear, wide_from: int = NEVER) -> None:
        super().__init__(linear)
        self._wide_from = wide_from
        weight = linear.weight.detach()
        if wide_from > 1:
            self._packed = pack_weight(weight, PACKED_FOR)
        if wide_from != NEVER:
            self._wide = pack_weight(weight.float(), PACKED_FOR)
            self._wide_bias = None if linear.bias is None else linear.bias.detach().float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.numel() // self.in_features
        if rows < self._wide_from:
            product = packed_linear(with_rounded_rows(x, self.out_features), self._packed, self.bias)[:rows]
        else:
            wide = with_rounded_rows(x.float(), self.out_features)
            product = packed_linear(wide, self._wide, self._wide_bias)[:rows].to(x.dtype)
        return product.view(*x.shape[:-1], -1)


def packed_copy(model: Any, dtype: torch.dtype, free_bytes: float) -> Any:
    """A copy of a model with its linear layers packed; the model itself stays as it is.

    Parameters
    ----------
    free_bytes : float
        What memory there is for it. Copies of weights in float32 beside those of 16 bits take no more than half.
    """
    wide_from = float32_from(dtype)
    if wide_from != NEVER and _linear_numbers(model) * torch.float32.itemsize > free_bytes / 2:
        wide_from = NEVER
        if emulates(str(dtype).removeprefix("torch.")):
            return model
    return with_merged_layers(model, functools.partial(PackedLinear, wide_from=wide_from))


def packed_bytes(model: Any, dtype: torch.dtype) -> int:
    """The most bytes that ``packed_copy`` takes."""
    wide_from = float32_from(dtype)
    own = dtype.itemsize if wide_from > 1 else 0
    wide = torch.float32.itemsize if wide_from != NEVER else 0
    return _linear_numbers(model) * (own + wide)


def _linear_numbers(model: Any) -> int:
    """Weights of the plain linear layers."""
    return sum(layer.weight.numel() for layer in model.modules() if type(layer) is nn.Linear)


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this processor's oneDNN multiplies packed weights of a dtype, or of float32 in its place."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype in PACKED
