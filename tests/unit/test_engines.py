from __future__ import annotations

import copy
import dataclasses

import pytest
from engine_runs import PROMPTS, ending_early, generate, outputs

from nbkit.models.prompt_tokens import PromptTokens


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


def test_the_parts_of_a_batch_lie_between_its_begin_and_end(tiny):
    for batch in generate(tiny, PROMPTS, batch_size=4, max_new_tokens=3):
        record = batch.record
        parts = (record.tokenize_s, record.prefill_s, record.decode_s, record.detokenize_s)
        assert sum(parts) == pytest.approx(record.end_s - record.begin_s)
        assert min(parts) > 0


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
