from __future__ import annotations

import copy
import dataclasses
import itertools

import pytest
from engine_runs import PROMPTS, Watch, ending_early, generate, outputs

from nbkit import models
from nbkit.models.prompt_tokens import PromptTokens
from nbkit.prompts import first_lines


@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
@pytest.mark.parametrize("pad_to_multiple_of", [1, 8])
@pytest.mark.parametrize("ignore_eos", [False, True])
def test_batched_equals_simple_token_for_token(tiny, batch_size, pad_to_multiple_of, ignore_eos):
    loaded = ending_early(tiny)
    asked = {"max_new_tokens": 12, "ignore_eos": ignore_eos}
    simple = generate(loaded, PROMPTS, engine="simple", **asked)
    batched = generate(
        loaded, PROMPTS, engine="batched", batch_size=batch_size, pad_to_multiple_of=pad_to_multiple_of, **asked
    )
    assert outputs(batched) == outputs(simple)
    assert [len(batch.outputs) for batch in batched][:-1] == [batch_size] * (len(batched) - 1)


def test_the_real_model_gives_the_same_text_in_batches():
    loaded = models.load("smollm2-135m", "float32")
    prompts = first_lines(4)
    simple = generate(loaded, prompts, engine="simple", max_new_tokens=12)
    batched = generate(loaded, prompts, engine="batched", batch_size=4, max_new_tokens=12)
    assert outputs(batched) == outputs(simple)
    assert all(output.text.strip() for output in outputs(simple))


def test_tokens_after_the_end_of_a_sequence_are_computed_but_not_new(tiny):
    batches = generate(ending_early(tiny), PROMPTS, batch_size=9, max_new_tokens=40)

    (batch,) = batches
    new = [output.new_tokens for output in batch.outputs]
    assert min(new) < max(new)
    assert batch.record.computed_tokens == 9 * max(new)
    assert batch.record.new_tokens == sum(new) < batch.record.computed_tokens
    assert {output.finish_reason for output in batch.outputs} <= {"stop", "length"}


def test_ignoring_the_end_gives_every_prompt_all_its_tokens(tiny):
    for batch in generate(ending_early(tiny), PROMPTS, batch_size=4, max_new_tokens=30, ignore_eos=True):
        assert [output.new_tokens for output in batch.outputs] == [30] * len(batch.outputs)
        assert batch.record.computed_tokens == 30 * len(batch.outputs)
        assert {output.finish_reason for output in batch.outputs} == {"length"}


def test_padding_and_prompt_tokens_fill_the_batch(tiny):
    (batch,) = generate(tiny, PROMPTS, batch_size=9, max_new_tokens=2)
    lengths = [len(tiny.tokenizer(prompt).input_ids) for prompt in PROMPTS]
    width = -(-max(lengths) // 8) * 8
    assert batch.record.prompt_tokens == sum(lengths)
    assert batch.record.prompt_tokens + batch.record.padding_tokens == 9 * width


def test_simple_pads_nothing(tiny):
    assert all(
        batch.record.padding_tokens == 0 for batch in generate(tiny, PROMPTS, engine="simple", max_new_tokens=2)
    )


def test_the_parts_of_a_batch_lie_between_its_begin_and_end(tiny):
    for batch in generate(tiny, PROMPTS, batch_size=4, max_new_tokens=3):
        record = batch.record
        parts = (record.tokenize_s, record.prefill_s, record.decode_s, record.detokenize_s)
        assert sum(parts) == pytest.approx(record.end_s - record.begin_s)
        assert min(parts) > 0


@pytest.mark.parametrize("engine", ["simple", "batched"])
def test_a_cancelled_engine_ends_without_the_batch_under_way(tiny, engine):
    whole = generate(tiny, PROMPTS, engine=engine, batch_size=3, max_new_tokens=10, ignore_eos=True)
    cut = generate(
        tiny, PROMPTS, Watch(stop_after=15), engine=engine, batch_size=3, max_new_tokens=10, ignore_eos=True
    )
    assert outputs(cut) == outputs(whole)[: len(cut[0].outputs)]


@pytest.mark.parametrize("engine", ["simple", "batched"])
@pytest.mark.parametrize("stop_after", [1, 7, 11])
def test_a_cancel_ends_within_a_token(tiny, engine, stop_after):
    watch = Watch(stop_after)
    generate(tiny, PROMPTS, watch, engine=engine, batch_size=3, max_new_tokens=10, ignore_eos=True)
    assert watch.steps == stop_after


@pytest.mark.parametrize("engine", ["simple", "batched"])
def test_an_engine_cancelled_before_it_begins_does_nothing(tiny, engine):
    watch = Watch(stop_after=0)
    assert generate(tiny, PROMPTS, watch, engine=engine) == []
    assert watch.steps == 0


@pytest.mark.parametrize("engine", ["simple", "batched"])
def test_no_prompts_give_no_batches(tiny, engine):
    assert generate(tiny, [], engine=engine) == []


def test_one_new_token_is_all_prefill(tiny):
    (batch,) = generate(tiny, PROMPTS, batch_size=9, max_new_tokens=1, ignore_eos=True)
    assert batch.record.steps == 1
    assert batch.record.new_tokens == batch.record.computed_tokens == 9


@pytest.mark.parametrize("pad_to_multiple_of", [8, 300])
def test_padding_past_the_models_context_changes_no_text(tiny, pad_to_multiple_of):
    prompts = ["x" * (tiny.context_length - 6), "the king."]
    asked = {"max_new_tokens": 6, "ignore_eos": True}
    simple = generate(tiny, prompts, engine="simple", **asked)
    batched = generate(tiny, prompts, batch_size=2, pad_to_multiple_of=pad_to_multiple_of, **asked)
    assert outputs(batched) == outputs(simple)


def test_special_tokens_are_added_alike(tiny):
    tokenizer = copy.deepcopy(tiny.tokenizer)
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", pair=None, special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    loaded = dataclasses.replace(tiny, tokenizer=tokenizer, prompt_tokens=PromptTokens(tokenizer))
    assert loaded.tokenizer("a").input_ids[0] == tokenizer.bos_token_id
    simple = generate(loaded, PROMPTS, engine="simple", max_new_tokens=6)
    batched = generate(loaded, PROMPTS, batch_size=4, max_new_tokens=6)
    assert outputs(simple) == outputs(batched)
    assert sum(b.record.prompt_tokens for b in simple) == sum(b.record.prompt_tokens for b in batched)


def test_the_text_so_far_is_the_beginning_of_the_output(tiny):
    watch = Watch()
    [batch] = generate(tiny, PROMPTS[:5], watch, engine="batched", batch_size=5, max_new_tokens=8)

    assert [streamed.index for streamed in watch.streamed[-1]] == [0, 1, 2]
    for earlier, later in itertools.pairwise(watch.streamed):
        assert all(b.text.startswith(a.text) for a, b in zip(earlier, later, strict=True))
    assert [streamed.text for streamed in watch.streamed[-1]] == [output.text for output in batch.outputs[:3]]


@pytest.mark.parametrize("change", ["no pad, no end", "a pad beyond the vocabulary"])
def test_what_a_tokenizer_pads_with_changes_no_text(tiny, change):
    tokenizer = copy.deepcopy(tiny.tokenizer)
    if change == "no pad, no end":
        tokenizer.pad_token = tokenizer.eos_token = None
        loaded = dataclasses.replace(tiny, tokenizer=tokenizer, eos_token_ids=(), prepared={})
        usual = dataclasses.replace(tiny, eos_token_ids=(), prepared={})
    else:
        tokenizer.add_special_tokens({"pad_token": "[PAD]"})
        loaded, usual = dataclasses.replace(tiny, tokenizer=tokenizer, prepared={}), tiny
    assert 0 <= loaded.pad_token_id < tiny.config.vocab_size
    expected = outputs(generate(usual, PROMPTS, engine="simple", max_new_tokens=9))
    for engine in ("simple", "batched", "compiled", "continuous"):
        assert outputs(generate(loaded, PROMPTS, engine=engine, batch_size=4, max_new_tokens=9)) == expected, engine
