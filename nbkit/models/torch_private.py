"""torch's private names: the operators and the compiler's settings that nbkit uses and torch does not document.

Tried with torch 2.11 and 2.13. Those of torch.distributed are in ``nbkit.runtime``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from nbkit.models.private_names import private_name

ANOTHER_TORCH = "install torch 2.11 to 2.13, or take engine='batched'"
UNQUANTIZED = "install torch 2.11 to 2.13, or take quantization='none'"


def emulates(dtype: str) -> bool:
    """Whether the processor has no arithmetic of its own for a dtype, so that computing in it is slow.

    Asked of torch's matrix library, oneDNN; where torch has been built without it, or no longer tells, False.
    """
    if dtype == "float32" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    asked = {"bfloat16": "_is_mkldnn_bf16_supported", "float16": "_is_mkldnn_fp16_supported"}
    is_supported = getattr(torch.ops.mkldnn, asked[dtype], None)
    return is_supported is not None and not is_supported()


def pack_weight(weight: torch.Tensor, rows: int) -> torch.Tensor:
    """A weight (outputs, inputs) laid out as oneDNN multiplies it best with so many rows.

    Raises
    ------
    InputError
        This torch has no such operators.
    """
    for name in ("_reorder_linear_weight", "_linear_pointwise"):
        private_name(f"torch:ops.mkldnn.{name}", "multiplies packed weights", ANOTHER_TORCH)
    return torch.ops.mkldnn._reorder_linear_weight(weight, rows)  # type: ignore[no-any-return]


def packed_linear(x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """``x @ weight.T + bias``, with what ``pack_weight`` made of the weight."""
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")  # type: ignore[no-any-return]


def pack_int8(codes: torch.Tensor) -> torch.Tensor:
    """Weights in whole numbers (outputs, inputs), int8, as ``int8_linear`` takes them.

    Raises
    ------
    InputError
        This torch has no such operators.
    """
    for name in ("qlinear_prepack", "qlinear_pointwise"):
        private_name(f"torch:ops.onednn.{name}", "computes with weights in int8", UNQUANTIZED)
    return torch.ops.onednn.qlinear_prepack(codes, None)  # type: ignore[no-any-return]


def int8_linear(rows: torch.Tensor, packed: torch.Tensor, scale: torch.Tensor, zeros: torch.Tensor) -> torch.Tensor:
    """``rows @ codes.T * scale`` in float32.

    Parameters
    ----------
    rows : torch.Tensor
        uint8, shape (n, inputs).
    scale, zeros : torch.Tensor
        Of each output the scale of its codes, float32, and which of them stands for 0, int64.
    """
    return torch.ops.onednn.qlinear_pointwise(  # type: ignore[no-any-return]
        rows, 1.0, 0, packed, scale, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )


def pack_int4(codes: torch.Tensor, inner_tiles: int) -> torch.Tensor:
    """Codes 0 to 15 (outputs, inputs), int32, as ``int4_linear`` takes them.

    Raises
    ------
    InputError
        This torch has no such operators.
    """
    for name in ("_convert_weight_to_int4pack_for_cpu", "_weight_int4pack_mm_for_cpu"):
        private_name(f"torch:{name}", "computes with weights in int4", UNQUANTIZED)
    return torch._convert_weight_to_int4pack_for_cpu(codes, inner_tiles)


def int4_linear(rows: torch.Tensor, packed: torch.Tensor, group: int, scale_and_zero: torch.Tensor) -> torch.Tensor:
    """Rows (n, inputs) in bfloat16, multiplied; ``scale_and_zero`` is (inputs / group, outputs, 2)."""
    return torch._weight_int4pack_mm_for_cpu(rows, packed, group, scale_and_zero)


def check_compiler() -> None:
    """Refuse a torch whose compiler has not the settings of ``open_shapes``.

    Raises
    ------
    InputError
        Which setting it has not.
    """
    purpose = "compiles the layers of a decode step once for all sizes"
    for path in ("torch._dynamo.config:recompile_limit", "torch.fx.experimental._config:use_duck_shape"):
        private_name(path, purpose, ANOTHER_TORCH)


@contextlib.contextmanager
def open_shapes(recompile_limit: int) -> Iterator[None]:
    """Let torch.compile keep apart sizes that are equal by chance, as of a batch and a head, and compile so often."""
    from torch._dynamo import config as dynamo_config
    from torch.fx.experimental import _config as shape_config

    open_sizes = shape_config.patch(use_duck_shape=False)  # type: ignore[attr-defined]
    with open_sizes, dynamo_config.patch(recompile_limit=recompile_limit):
        yield


def compiler_errors() -> tuple[type[Exception], ...]:
    """What torch.compile raises where it does not work; importing it takes a second."""
    try:
        from torch._dynamo.exc import TorchDynamoException
    except ImportError:
        return ()
    return (TorchDynamoException,)
