"""Compiled layers: the decoder layers of a decode step as a GPU runs them best.

Of a layer's kernels only the products and the attention read much; the dozens between
them (norms, rotary embedding, activation, sums) each take some microseconds whatever they
read. torch.compile fuses those. All layers run the same code, so one is compiled and the
others take the result.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from nbkit.engines.merged_linear import merge_linear_layers
from nbkit.engines.shared_copy import shared_copy
from nbkit.models.torch_private import check_compiler, open_shapes

RECOMPILE_LIMIT = 64
"""A model is compiled twice, for one sequence and for more; a rank may load many models."""


def with_compiled_layers(model: Any, cache_name: str, backend: str | Callable[..., Any] = "inductor") -> Any:
    """A shared copy of a model, for decode steps over a ``SlotCache`` that prompts are in.

    The layers are compiled when they are first called. A model that keeps its layers
    elsewhere than most is returned as it is.

    Parameters
    ----------
    cache_name : str
        What the layers' forward calls the cache.
    backend : str or callable
        Of ``torch.compile``.

    Raises
    ------
    InputError
        This torch's compiler has not the settings that are needed.
    """
    if not isinstance(getattr(model.base_model, "layers", None), nn.ModuleList):
        return model
    check_compiler()
    copied = shared_copy(model)
    merge_linear_layers(copied)
    # torch.compile would advise to give up float32's exactness.
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")
    # Sizes are left open: sequences and positions change from step to step.
    compiled = torch.compile(_forward, backend=backend, dynamic=True)
    for number, layer in enumerate(copied.base_model.layers):
        layer.forward = _on_own_cache(layer, number, cache_name, compiled)
    return copied


def _on_own_cache(layer: nn.Module, number: int, cache_name: str, compiled: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's forward with its own layer of the cache: told apart by number, each would be compiled anew."""

    def forward(*args: Any, **options: Any) -> Any:
        options[cache_name] = options[cache_name].layers[number]
        with open_shapes(RECOMPILE_LIMIT):
            return compiled(layer, args, options)

    return forward


def _forward(layer: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return type(layer).forward(layer, *args, **options)
