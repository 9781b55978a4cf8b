"""Quantised weights: linear layers whose weights are kept in 8 or 4 bits.

On a CPU the operators are torch's own. With int8, activations are quantised too, anew for
each product ('dynamic'), so that the product itself is one of whole numbers, which
processors compute several times as fast as one of floats. Layers that read the same input
are one there, which quantises it once. With int4 only the weights are;
that saves reading memory, which is what takes long in batches of a few sequences, and
is slower than bfloat16 in large ones. On a GPU int8 is of the weights alone, which saves
memory and takes time, and int4 is torchao's.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

from nbkit.engines.merged_linear import with_merged_layers
from nbkit.engines.rounded_rows import with_rounded_rows
from nbkit.engines.shared_copy import LinearLike, with_linear_layers
from nbkit.errors import InputError
from nbkit.models.torch_private import int4_linear, int8_linear, pack_int4, pack_int8

GROUP = 32
"""Weights along the input that share a scale in int4: smaller groups lose less and take more memory."""

ROW_CODES = 255
"""Steps of a row's range: its codes are unsigned, as oneDNN multiplies signed ones hundreds of times as slowly."""
_HALF = torch.tensor(0.5)

INNER_TILES = 1
OUTPUT_TILE = 16
"""What the operator wants the number of outputs to be a multiple of."""


def quantized_copy(model: Any, quantization: str, device: torch.device) -> Any:
    """A copy of a model with its linear layers quantised; the model itself stays as it is.

    Parameters
    ----------
    quantization : {"int8", "int4"}

    Raises
    ------
    InputError
        A layer's size does not divide into groups; on a GPU, for int4, torchao is not installed
        or the model is not in bfloat16.
    """
    if device.type == "cpu":
        return with_merged_layers(model, Int8Linear if quantization == "int8" else Int4Linear)
    if quantization == "int8":
        return with_linear_layers(model, Int8Weight)
    return _int4_by_torchao(with_linear_layers(model, lambda linear: linear))


class Int8Linear(LinearLike):
    """Weights in int8 with a scale for each output, activations in 8 bits with a range for each row.

    The operator has one range for all rows, in which the row of one outlier would leave the others few
    steps, and every text depend on those beside it. So each row is coded in its own,
    row = low + step * codes, and its product put together again: low * sum(weights) + step * product.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        self._coded = _CodedWeight(linear.weight.detach(), _largest_code())
        self._bias_in_float = None if linear.bias is None else linear.bias.detach().float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product = self._coded.multiplied_by(x)
        if self._bias_in_float is not None:
            product += self._bias_in_float
        return product.to(x.dtype)


class _CodedWeight:
    """A weight (outputs, inputs) in whole numbers from -largest to largest, with a scale for each output."""

    def __init__(self, weight: torch.Tensor, largest: int) -> None:
        weight = weight.float()
        self._scale = weight.abs().amax(1).clamp_(min=1e-8) / largest
        codes = (weight / self._scale[:, None]).round_().to(torch.int8)
        self._sums = codes.sum(1) * self._scale
        self._packed = pack_int8(codes)
        self._zeros = torch.zeros(len(codes), dtype=torch.int64)

    def multiplied_by(self, x: torch.Tensor) -> torch.Tensor:
        """``x @ weight.T`` in float32."""
        rows = x.reshape(-1, x.shape[-1]).float()
        # Both take less time than aminmax along the last dimension.
        low, high = rows.amin(-1, keepdim=True), rows.amax(-1, keepdim=True)
        step = (high - low).clamp_(min=1e-12).div_(ROW_CODES)
        # What is cut off behind the point, a half added, is rounded.
        codes = torch.addcmul(_HALF, rows - low, step.reciprocal()).to(torch.uint8)
        rounded = with_rounded_rows(codes, len(self._scale))
        product = int8_linear(rounded, self._packed, self._scale, self._zeros)[: len(rows)]
        return product.mul_(step).addcmul_(low, self._sums).view(*x.shape[:-1], -1)


@functools.cache
def _largest_code() -> int:
    """The largest weight that this processor multiplies rightly: 127, or 63 where two products overflow.

    Without VNNI two products are added in 16 bits, and 2 x 255 x 127 is more than they hold. Asked
    of a product: library and processor decide together.
    """
    most = torch.ones(1, 64)
    # The largest code in all places but two: a row that is constant has none.
    rows = torch.ones(1, 64)
    rows[0, :2] = 0
    product = float(_CodedWeight(most, 127).multiplied_by(rows))
    return 127 if abs(product - float(rows.sum())) < 1 else 63


class Int8Weight(LinearLike):
    """Weights in int8 with a scale for each output, turned into the activations' dtype for each product."""

    codes: torch.Tensor
    scale: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-8) / 127
        self.register_buffer("codes", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale[:, 0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product = nn.functional.linear(x, self.codes.to(x.dtype)) * self.scale
        return (product if self.bias is None else product + self.bias).to(x.dtype)


class Int4Linear(LinearLike):
    """Weights in 4 bits, a scale and a zero point for each group of ``GROUP`` along the input; bfloat16 products."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        weight = linear.weight.detach().float()
        if weight.shape[1] % GROUP:
            raise InputError(
                f"quantization='int4' needs layers whose inputs are a multiple of {GROUP}; this model has one of "
                f"{weight.shape[1]}. Take quantization='int8'."
            )
        self._outputs = len(weight)
        weight = nn.functional.pad(weight, (0, 0, 0, -len(weight) % OUTPUT_TILE))
        grouped = weight.view(len(weight), -1, GROUP)
        low = grouped.amin(-1, keepdim=True)
        scale = ((grouped.amax(-1, keepdim=True) - low) / 15).clamp(min=1e-8)
        rounded = ((grouped - low) / scale).round().clamp(0, 15).to(torch.int32).view(weight.shape)
        self._packed = pack_int4(rounded, INNER_TILES)
        # The operator's zero point is that of the middle code, 8.
        scale_and_zero = torch.stack([scale[..., 0], (low + 8 * scale)[..., 0]], dim=-1)
        self._scale_and_zero = scale_and_zero.transpose(0, 1).contiguous().to(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)
        product = int4_linear(rows, self._packed, GROUP, self._scale_and_zero)
        product = product[:, : self._outputs].reshape(*x.shape[:-1], self._outputs)
        return (product if self.bias is None else product + self.bias).to(x.dtype)


def _int4_by_torchao(copied: Any) -> Any:
    """Quantise a shared copy of a model, in place."""
    try:
        from torchao.quantization import Int4WeightOnlyConfig, quantize_
    except ImportError:
        raise InputError(
            "quantization='int4' on a GPU needs torchao: pip install torchao, then start the workers anew."
        ) from None
    if copied.dtype != torch.bfloat16:
        raise InputError(f"quantization='int4' on a GPU needs dtype='bfloat16', not {str(copied.dtype)[6:]!r}.")
    # torchao's default layout needs a package more; this one's kernels are torch's own.
    quantize_(copied, Int4WeightOnlyConfig(group_size=GROUP, int4_packing_format="tile_packed_to_4d"))
    return copied
