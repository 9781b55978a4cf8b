"""Grouped attention: a decode step's, in which the query heads of a group read the keys and values that they share.

transformers repeats keys and values for each head of a group before it calls torch's
attention; its newer versions do so in compiled layers only. With one token a sequence the
heads of a group can be queries of one head instead, and nothing is repeated.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from nbkit.engines.shared_copy import shared_copy
from nbkit.engines.transformers_private import attention_of, has_common_attention, register_attention

NAME = "nbkit_sdpa"
"""Under which transformers' models know it."""


def with_grouped_attention(model: Any) -> Any:
    """A shared copy of a model that computes attention so; the model itself where its attention is not torch's."""
    if attention_of(model) != "sdpa" or not has_common_attention(model):
        return model
    register_attention(NAME, _attention, like="sdpa")
    copied = shared_copy(model)
    copied.set_attn_implementation(NAME)
    return copied


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls for each layer.

    Parameters
    ----------
    query : torch.Tensor
        Shape (n, heads, queries, head size).
    key, value : torch.Tensor
        Shape (n, KV heads, positions, head size).
    attention_mask : torch.Tensor, optional
        Shape (n, 1, queries, positions).

    Returns
    -------
    tuple of torch.Tensor and None
        Shape (n, queries, heads, head size of the values).
    """
    group = getattr(module, "num_key_value_groups", 1)
    is_known = all(value is None for name, value in options.items() if name in _CHANGE_SCORES)
    if group == 1 or query.shape[2] != 1 or attention_mask is None or attention_mask.shape[1] != 1 or not is_known:
        return _of_transformers(module, query, key, value, attention_mask, **options)
    grouped = query.reshape(query.shape[0], -1, group, query.shape[3])
    attended = scaled_dot_product_attention(
        grouped,
        key,
        value,
        attn_mask=attention_mask,
        dropout_p=options.get("dropout", 0.0),
        scale=options.get("scaling"),
    )
    return attended.reshape(attended.shape[0], 1, -1, attended.shape[3]), None


_CHANGE_SCORES = ("position_bias", "softcap")
"""Options by which transformers' own adds to the scores, or refuses."""


def _of_transformers(*args: Any, **options: Any) -> tuple[torch.Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    return sdpa_attention_forward(*args, **options)  # type: ignore[no-any-return]
