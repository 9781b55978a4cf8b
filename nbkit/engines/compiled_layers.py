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

    The layers are compiled when they are first called.

    Parameters
    ----------
    cache_name : str
        What the layers' forward calls the cache.
    backend : str or callable
        Of ``torch.compile``.
    """
    twin = twin_of(model)
    merge_linear_layers(twin)
    # torch.compile would advise to give up float32's exactness.
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")
    # Sizes are left open: sequences and positions change from step to step.
    forward = torch.compile(_forward, backend=backend, dynamic=True)
    layers = twin.base_model.layers
    for place, layer in enumerate(layers):
        layers[place] = _CompiledLayer(layer, place, cache_name, forward)
    return twin


class _CompiledLayer(nn.Module):
    """A decoder layer that is given its own layer of the cache: told apart by number, each would be compiled anew."""

    def __init__(self, layer: nn.Module, place: int, cache_name: str, forward: Callable[..., Any]) -> None:
        super().__init__()
        self._layer = layer
        self._place = place
        self._cache_name = cache_name
        self._forward = forward

    def forward(self, hidden_states: torch.Tensor, **options: Any) -> Any:
        options[self._cache_name] = options[self._cache_name].layers[self._place]
        # Sizes that are equal by chance, as of a batch and of a head, need not stay equal.
        open_sizes = shape_config.patch(use_duck_shape=False)  # type: ignore[attr-defined]
        with open_sizes, dynamo_config.patch(recompile_limit=RECOMPILE_LIMIT):
            return self._forward(self._layer, hidden_states, options)


def _forward(layer: nn.Module, hidden_states: torch.Tensor, options: dict[str, Any]) -> Any:
    return layer(hidden_states, **options)
