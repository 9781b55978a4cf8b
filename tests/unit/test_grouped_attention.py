"""Grouped attention against transformers' own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from nbkit.engines import grouped_attention
from nbkit.engines.grouped_attention import NAME, with_grouped_attention
from nbkit.engines.transformers_private import attention_of

N, POSITIONS, SIZE = 3, 11, 8


def both(heads, kv_heads, queries=1, dtype=torch.float32, value_size=SIZE, mask="each", **options):
    """What transformers' own attention gives, and the grouped one."""
    torch.manual_seed(0)
    query = torch.randn(N, heads, queries, SIZE, dtype=dtype)
    key = torch.randn(N, kv_heads, POSITIONS + 1, SIZE, dtype=dtype)[:, :, :POSITIONS]
    value = torch.randn(N, kv_heads, POSITIONS + 1, value_size, dtype=dtype)[:, :, :POSITIONS]
    added = None
    if mask is not None:
        added = torch.zeros(N, heads if mask == "head" else 1, queries, POSITIONS, dtype=dtype)
        added.masked_fill_(torch.rand(added.shape) < 0.5, -torch.inf)[..., 0] = 0
    module = SimpleNamespace(num_key_value_groups=heads // kv_heads, is_causal=True)
    given = (module, query, key, value, added)
    return [each(*given, **options)[0] for each in (sdpa_attention_forward, grouped_attention._attention)]


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 1), (6, 2), (9, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("queries", [1, 5])
@pytest.mark.parametrize("mask", ["each", "head", None])
def test_it_gives_what_transformers_own_does(heads, kv_heads, dtype, queries, mask):
    expected, found = both(heads, kv_heads, queries, dtype, mask=mask)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"value_size": 5},
        {"scaling": 0.7},
        {"is_causal": True},
        {"dropout": 0.0, "sliding_window": 4},
        {"position_bias": torch.randn(1, 6, 1, POSITIONS)},
    ],
)
def test_it_heeds_what_transformers_own_heeds(options):
    expected, found = both(6, 2, **options)
    torch.testing.assert_close(found, expected)


@pytest.mark.model
def test_a_models_copy_has_it_and_the_model_keeps_its_own(tiny):
    copied = with_grouped_attention(tiny.model)
    assert (attention_of(copied), attention_of(tiny.model)) == (NAME, "sdpa")
    assert attention_of(copied.base_model) == NAME
    ids = torch.arange(12).view(2, 6)
    with torch.inference_mode():
        torch.testing.assert_close(copied(input_ids=ids).logits, tiny.model(input_ids=ids).logits)
    assert copied.get_input_embeddings().weight is tiny.model.get_input_embeddings().weight


@pytest.mark.model
def test_a_model_of_another_attention_stays_as_it_is(tiny):
    eager = with_grouped_attention(tiny.model)
    eager.set_attn_implementation("eager")
    assert with_grouped_attention(eager) is eager
