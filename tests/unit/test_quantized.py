"""Packed and quantised linear layers against plain ones."""

from __future__ import annotations

import dataclasses
import math
import sys

import pytest
import torch
from engine_runs import PROMPTS, generate, outputs
from torch import nn

from nbkit.engines.packed_linear import PackedLinear, can_pack
from nbkit.engines.perplexity import perplexity
from nbkit.engines.quantized_linear import Int4Linear, Int8Linear, Int8Weight, quantized_copy
from nbkit.engines.shared_copy import with_linear_layers
from nbkit.errors import InputError

CPU = torch.device("cpu")


def relative_error(made, linear, rows, dtype=torch.float32):
    torch.manual_seed(1)
    x = torch.randn(rows, 3, linear.in_features)
    exact = linear(x)
    return float((made(x.to(dtype)).float() - exact).norm() / exact.norm())


@pytest.fixture(params=[True, False], ids=["bias", "no bias"])
def linear(request):
    torch.manual_seed(0)
    return nn.Linear(64, 96, bias=request.param).requires_grad_(False)


@pytest.mark.parametrize("rows", [1, 7, 200])
def test_packed_weights_give_the_same_product(linear, rows):
    assert relative_error(PackedLinear(linear), linear, rows) < 1e-6


@pytest.mark.parametrize(("kind", "most"), [(Int8Linear, 0.03), (Int8Weight, 0.03), (Int4Linear, 0.15)])
@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_quantised_weights_give_nearly_the_same_product(linear, kind, most, rows, dtype):
    made = kind(linear)
    assert made(torch.randn(2, 64, dtype=dtype)).dtype == dtype
    assert relative_error(made, linear, rows, dtype) < most


def test_an_outlier_in_one_row_is_no_harm_to_the_others(linear):
    made = Int8Linear(linear)
    x = torch.randn(5, 64)
    alone = [made(row[None])[0] for row in x]
    x[3] *= 1000
    together = made(x)
    assert all(torch.equal(together[row], alone[row]) for row in (0, 1, 2, 4))


def test_rows_that_are_constant_have_a_range_of_nothing(linear):
    made = Int8Linear(linear)
    x = torch.tensor([0.0, 3.0, -2.0])[:, None].expand(3, 64)
    assert torch.allclose(made(x), linear(x), atol=0.1)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_int8_texts_do_not_depend_on_the_batch(tiny, batch_size):
    asked = {"engine": "compiled", "max_new_tokens": 8, "ignore_eos": True, "quantization": "int8"}
    assert outputs(generate(tiny, PROMPTS, batch_size=batch_size, **asked)) == outputs(
        generate(tiny, PROMPTS, batch_size=len(PROMPTS), **asked)
    )


def test_int4_refuses_a_layer_that_does_not_divide():
    with pytest.raises(InputError, match=r"multiple of 32; this model has one of 40\. Take quantization='int8'"):
        Int4Linear(nn.Linear(40, 8))


def test_on_a_gpu_int8_shares_what_it_does_not_quantise_and_int4_says_what_it_needs(tiny, monkeypatch):
    gpu = torch.device("cuda")  # the kind that is chosen; the tensors stay where they are
    copy = quantized_copy(tiny.model, "int8", gpu)
    assert sum(isinstance(part, Int8Weight) for part in copy.modules()) == 2 * 7 + 1
    assert copy.get_input_embeddings().weight is tiny.model.get_input_embeddings().weight
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(InputError, match="int4' on a GPU needs torchao: pip install torchao"):
        quantized_copy(tiny.model, "int4", gpu)


def test_only_what_the_matrix_library_knows_is_packed():
    assert not can_pack(torch.device("cuda"), torch.bfloat16)
    assert not can_pack(CPU, torch.float64)


def test_a_copy_shares_parameters_and_leaves_the_model_as_it_is(tiny):
    copy = with_linear_layers(tiny.model, PackedLinear)
    assert copy.get_input_embeddings().weight is tiny.model.get_input_embeddings().weight
    assert any(isinstance(part, PackedLinear) for part in copy.modules())
    assert not any(isinstance(part, PackedLinear) for part in tiny.model.modules())


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_a_quantised_model_generates_and_the_plain_one_is_untouched(tiny, quantization):
    asked = {"engine": "compiled", "max_new_tokens": 8, "ignore_eos": True, "batch_size": 4}
    plain = outputs(generate(tiny, PROMPTS, **asked))
    quantised = outputs(generate(tiny, PROMPTS, quantization=quantization, **asked))
    assert [output.new_tokens for output in quantised] == [8] * len(PROMPTS)
    assert outputs(generate(dataclasses.replace(tiny, prepared={}), PROMPTS, **asked)) == plain


def test_perplexity_is_that_of_the_models_own_loss(tiny):
    text = "it was a bright cold day in april"
    ids = tiny.tokenizer(text, return_tensors="pt").input_ids
    loss = float(tiny.model(input_ids=ids, labels=ids).loss.detach())
    assert perplexity(tiny, text=text) == pytest.approx(math.exp(loss), rel=1e-5)
    assert perplexity(tiny, "int8", text) == pytest.approx(math.exp(loss), rel=0.02)
