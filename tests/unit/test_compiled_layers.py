"""What a GPU decodes with, as far as a CPU can tell: compiled and merged layers, a step ahead, buckets."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
import transformers
from engine_runs import PROMPTS, Watch, ending_early, outputs
from example_runs import article
from hypothesis import given
from hypothesis import strategies as st
from torch._dynamo.exc import TorchDynamoException

from nbkit.engines import Request, slot_decoder
from nbkit.engines.captured_step import position_bucket, row_bucket
from nbkit.engines.compiled import CompiledPool
from nbkit.engines.compiled_layers import with_compiled_layers
from nbkit.engines.in_flight import InFlightEngine
from nbkit.engines.merged_linear import merge_linear_layers
from nbkit.engines.sampling import Sampler


def generated(loaded, batch_size, prepare=lambda pool: None, **settings):
    asked = article(engine="compiled", batch_size=batch_size, **settings)
    pool = CompiledPool(asked, loaded, batch_size, Sampler(asked, loaded))
    prepare(pool)
    listed = [Request(i, text) for i, text in enumerate(PROMPTS)]
    return list(InFlightEngine(asked, loaded, pool).generate([listed], Watch()))


def look_ahead(pool):
    pool._looks_ahead = True


@pytest.mark.parametrize(
    ("batch_size", "temperature", "ignore_eos"),
    [(1, 0.0, False), (1, 1.5, True), (3, 0.0, True), (3, 1.5, False), (9, 0.0, False), (9, 1.5, True)],
)
def test_a_step_ahead_changes_no_text_and_counts_what_it_computes_in_vain(tiny, batch_size, temperature, ignore_eos):
    loaded = ending_early(tiny)
    asked = {"max_new_tokens": 30, "temperature": temperature, "ignore_eos": ignore_eos}
    plain = generated(loaded, batch_size, **asked)
    ahead = generated(loaded, batch_size, look_ahead, **asked)
    assert outputs(ahead) == outputs(plain)
    new = sum(batch.record.new_tokens for batch in ahead)
    discarded = sum(batch.record.computed_tokens for batch in ahead) - new
    ended_early = sum(output.new_tokens < 30 for output in outputs(plain))
    # Known beforehand is when max_new_tokens are reached; one token too many is all that an earlier end costs.
    assert 0 <= discarded <= ended_early
    assert sum(batch.record.computed_tokens for batch in plain) == new


def with_layers_compiled(loaded, batch_size, **settings):
    """What is generated with compiled layers, and how many graphs were compiled for it."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def compile_layers(pool):
        decoder = pool._decoder
        decoder._decoder = with_compiled_layers(loaded.model, decoder._cache_name, backend)

    torch.compiler.reset()
    return generated(loaded, batch_size, compile_layers, **settings), len(graphs)


def test_one_layer_is_compiled_and_all_of_them_use_it(tiny):
    plain = generated(tiny, 4, max_new_tokens=70)
    fused, graphs = with_layers_compiled(tiny, 4, max_new_tokens=70)
    assert outputs(fused) == outputs(plain)
    # Two layers, batches of 4 down to 1, lengths over several buckets: one sequence is a case of its own.
    assert graphs <= 2


class CapturedLikeAGpu:
    """A captured step that computes at once, and took half a second to capture each time."""

    capture_s = 0.5
    taken_s = 0.0

    def __init__(self, forward, positions, device):
        self._forward = forward

    def __call__(self, tokens, positions, length, most):
        logits = self._forward(tokens, positions, length)
        type(self).taken_s += self.capture_s
        return logits, self.capture_s


def test_what_compiling_took_is_told_apart_also_of_a_step_ahead(tiny, monkeypatch):
    def on_gpu(pool):
        pool._decoder.captures = pool._looks_ahead = True

    monkeypatch.setattr(slot_decoder, "CapturedStep", CapturedLikeAGpu)
    monkeypatch.setattr(CapturedLikeAGpu, "taken_s", 0.0)
    plain = generated(tiny, 4, max_new_tokens=20)
    batches = generated(tiny, 4, on_gpu, max_new_tokens=20)
    assert outputs(batches) == outputs(plain)
    assert sum(batch.record.compile_s for batch in batches) == CapturedLikeAGpu.taken_s > 0


def test_where_torch_compile_does_not_work_steps_are_not_fused_and_it_is_said(tiny, monkeypatch, capsys):
    calls = []

    def cannot(**inputs):
        calls.append(inputs)
        raise TorchDynamoException("Cannot find a working triton installation.\nMore of it.")

    def on_gpu(pool):
        pool._decoder.captures, pool._decoder._decoder = True, cannot

    monkeypatch.setattr(slot_decoder, "CapturedStep", CapturedLikeAGpu)
    loaded = dataclasses.replace(tiny, prepared={})
    plain = generated(loaded, 4, max_new_tokens=9)
    assert outputs(generated(loaded, 4, on_gpu, max_new_tokens=9)) == outputs(plain)
    assert len(calls) == 1
    said = capsys.readouterr().out
    assert said == (
        "torch.compile does not work here, and steps take longer: Cannot find a working triton installation.\n"
    )


SMALL = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
WIDE = {**SMALL, "intermediate_size": 64, "num_key_value_heads": 2}
ONE_KIND, TWO_KINDS = 2, 4


@pytest.mark.parametrize(
    ("family", "sizes", "most"),
    [
        ("Mistral", {**WIDE, "sliding_window": 5}, ONE_KIND),
        ("Qwen2", {**WIDE, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2}, TWO_KINDS),
        ("Qwen3", {**WIDE, "head_dim": 8}, ONE_KIND),
        ("Gemma2", {**WIDE, "head_dim": 8, "sliding_window": 5}, TWO_KINDS),
        ("Phi3", {**WIDE, "pad_token_id": 2}, ONE_KIND),
        ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4}, 0),  # keeps its layers elsewhere, and decodes without
    ],
)
def test_other_models_too_give_the_same_texts(tiny, family, sizes, most):
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(vocab_size=tiny.config.vocab_size, **sizes)
    model = getattr(transformers, f"{family}ForCausalLM" if family != "GPT2" else "GPT2LMHeadModel")(config).eval()
    loaded = dataclasses.replace(tiny, model=model, config=config, prepared={})
    plain = generated(loaded, 4, max_new_tokens=12, ignore_eos=True)
    fused, graphs = with_layers_compiled(loaded, 4, max_new_tokens=12, ignore_eos=True)
    assert outputs(fused) == outputs(plain)
    assert graphs <= most


def test_merged_layers_give_the_same_products_and_hold_no_weight_twice(tiny):
    model = copy.deepcopy(tiny.model)
    attention = model.model.layers[0].self_attn
    layers = [getattr(attention, name) for name in ("q_proj", "k_proj", "v_proj")]
    x = torch.randn(5, 1, attention.q_proj.in_features)
    expected = [layer(x) for layer in layers]
    merge_linear_layers(model)
    merged = [getattr(attention, name)(x) for name in ("q_proj", "k_proj", "v_proj")]
    for found, right in zip(merged, expected, strict=True):
        torch.testing.assert_close(found, right)
    assert len({layer.weight.untyped_storage().data_ptr() for layer in layers}) == 1
    for layer, right in zip(layers, expected, strict=True):  # who kept them can still use them
        torch.testing.assert_close(layer(x), right)


@given(rows=st.integers(1, 300), most=st.integers(1, 300))
def test_arow_bucket_holds_the_rows_and_is_no_more_than_there_is(rows, most):
    bucket = row_bucket(min(rows, most), most)
    assert min(rows, most) <= bucket <= most


@given(length=st.integers(1, 100_000), room=st.integers(0, 100_000))
def test_aposition_bucket_reads_little_in_vain(length, room):
    bucket = position_bucket(length, length + room)
    assert length <= bucket <= length + room
    assert bucket - length < max(64, length / 8 + 1)
