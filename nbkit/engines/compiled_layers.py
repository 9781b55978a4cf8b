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
from torch._dynamo import config as dynamo_config
from torch.fx.experimental import _config as shape_config

from nbkit.engines.merged_linear import merge_linear_layers
from nbkit.engines.model_twin import twin_of

RECOMPILE_LIMIT = 64
"""A model is compiled twice, for one sequence and for more; a rank may load many models."""


def with_compiled_layers(model: Any, cache_name: str, backend: str | Callable[..., Any] = "inductor") -> Any:
    """A copy of a model that shares its parameters, for decode steps over a ``SlotCache`` that prompts are in.

    The layers are compiled when they are first called. A model that keeps its layers
    elsewhere than most is returned as it is.

    Parameters
    ----------
    cache_name : str
        What the layers' forward calls the cache.
    backend : str or callable
        Of ``torch.compile``.
    """
    if not isinstance(getattr(model.base_model, "layers", None), nn.ModuleList):
        return model
    twin = twin_of(model)
    merge_linear_layers(twin)
    # torch.compile would advise to give up float32's exactness.
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")
    # Sizes are left open: sequences and positions change from step to step.
    compiled = torch.compile(_forward, backend=backend, dynamic=True)
    for place, layer in enumerate(twin.base_model.layers):
        layer.forward = _on_own_cache(layer, place, cache_name, compiled)
    return twin


def _on_own_cache(layer: nn.Module, place: int, cache_name: str, compiled: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's forward with its own layer of the cache: told apart by number, each would be compiled anew."""

    def forward(*args: Any, **options: Any) -> Any:
        options[cache_name] = options[cache_name].layers[place]
        # Sizes that are equal by chance, as of a batch and of a head, need not stay equal.
        open_sizes = shape_config.patch(use_duck_shape=False)  # type: ignore[attr-defined]
        with open_sizes, dynamo_config.patch(recompile_limit=RECOMPILE_LIMIT):
            return compiled(layer, args, options)

    return forward


def _forward(layer: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return type(layer).forward(layer, *args, **options)
