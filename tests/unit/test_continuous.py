from __future__ import annotations

import copy
import dataclasses
import threading

import pytest
import torch
from engine_runs import PROMPTS, generate, outputs

from nbkit.engines.continuous import PAGE_POSITIONS, PREFILL_TOKENS, ContinuousPool, _check_version
from nbkit.engines.sampling import Sampler
from nbkit.errors import InputError
from nbkit.records import OutOfMemory
from nbkit.records.settings import Settings

CONTINUOUS = {"engine": "continuous"}


def make_pool(loaded, capacity=4, **settings):
    asked = Settings(engine="continuous", **settings)
    return ContinuousPool(asked, loaded, capacity, Sampler(asked, loaded))


def run(pool, prompts):
    """What has finished, by index."""
    for index, tokens in prompts.items():
        pool.add(index, tokens)
    finished = {}
    while pool.under_way(1):
        finished |= {done.index: done for done in pool.step().finished}
    return finished


def tokens_of(loaded):
    return dict(enumerate(loaded.tokenizer(PROMPTS[:4]).input_ids))


def test_draws_are_those_of_simple_beside_prompts_of_several_steps(tiny):
    # Whole prompts of more than a step's tokens: some rows of a step have no logits to draw from.
    prompts = [*PROMPTS, "the king. " * 12, "a word, " * 12, "no, no. " * 13]
    assert sum(map(len, prompts[-3:])) > PREFILL_TOKENS
    drawing = {"max_new_tokens": 12, "seed": 7, "temperature": 0.7, "top_p": 0.9, "top_k": 20}
    simple = generate(tiny, prompts, engine="simple", **drawing)
    drawn = generate(tiny, prompts, batch_size=5, **CONTINUOUS, **drawing)
    assert outputs(drawn) == outputs(simple)


def test_tokens_are_seen_as_they_come(tiny):
    pool, prompts = make_pool(tiny, max_new_tokens=6, ignore_eos=True), tokens_of(tiny)
    pool.add(0, prompts[0])
    step = pool.step()
    assert (step.is_prefill, step.new_tokens, step.finished) == (True, [0], [])
    assert not pool.step().is_prefill
    assert pool.new_tokens == 2
    pool.add(1, prompts[1])
    step = pool.step()
    assert (step.is_prefill, step.new_tokens) == (True, [0, 1])
    assert [(index, len(tokens)) for index, tokens in pool.under_way(3)] == [(0, 3), (1, 1)]
    assert pool.under_way(1)[0][0] == 0


def test_a_longer_prompt_makes_the_cache_anew_and_changes_no_text(tiny):
    asked = {"max_new_tokens": 12, "ignore_eos": True, "temperature": 1.0}
    pool = make_pool(tiny, capacity=2, **asked)
    pool.add(0, tiny.tokenizer(PROMPTS[0]).input_ids)
    for _ in range(5):
        pool.step()
    finished = run(pool, {1: tiny.tokenizer("x" * 150).input_ids})
    simple = outputs(generate(tiny, [PROMPTS[0], "x" * 150], engine="simple", **asked))
    texts = [tiny.tokenizer.decode(finished[i].tokens, skip_special_tokens=True) for i in range(2)]
    assert texts == [output.text for output in simple]


def test_memory_is_that_of_the_sequences(tiny):
    pool = make_pool(tiny, capacity=3, max_new_tokens=12)
    pool.add(0, tiny.tokenizer("x" * 100).input_ids)
    pool.step()
    positions = pool._batching._processor.cache.num_blocks * PAGE_POSITIONS
    assert 3 * 112 <= positions <= 3 * (112 + 2 * PAGE_POSITIONS)


def test_after_a_stop_string_the_pages_are_free(tiny):
    whole = run(make_pool(tiny, max_new_tokens=30, ignore_eos=True), {0: tokens_of(tiny)[0]})
    pool = make_pool(tiny, max_new_tokens=30, ignore_eos=True, stop=(tiny.tokenizer.decode(whole[0].tokens[9:11]),))
    pool.add(0, tokens_of(tiny)[0])
    while pool.under_way(1):
        pool.step()
    pool.add(1, tokens_of(tiny)[1])
    pool.step()
    assert list(pool._batching._processor.scheduler.active_requests) == ["1"]


def test_aborted_it_forgets_all_and_goes_on_with_fewer(tiny):
    pool, prompts = make_pool(tiny, max_new_tokens=12), tokens_of(tiny)
    whole = run(pool, prompts)
    for index, tokens in prompts.items():
        pool.add(index, tokens)
    pool.step()
    pool.abort()
    assert pool.new_tokens == 0
    assert pool.under_way(4) == []
    pool.capacity = 2
    assert run(pool, {2: prompts[2], 0: prompts[0]}) == {0: whole[0], 2: whole[2]}


def test_out_of_memory_it_goes_on_with_half_as_many(tiny, monkeypatch):
    made = ContinuousPool._let_join

    def let_join(pool):
        if pool.capacity > 4:
            raise MemoryError("no room")
        return made(pool)

    monkeypatch.setattr(ContinuousPool, "_let_join", let_join)
    asked = {"max_new_tokens": 12, "ignore_eos": True}
    yielded = generate(tiny, PROMPTS, batch_size=9, **CONTINUOUS, **asked)
    assert [each.then for each in yielded if isinstance(each, OutOfMemory)] == [4]
    assert outputs(yielded) == outputs(generate(tiny, PROMPTS, engine="simple", **asked))


def test_it_leaves_nothing_behind(tiny):
    loaded = dataclasses.replace(tiny, prepared={})
    torch.manual_seed(5)
    threads, state = threading.active_count(), torch.get_rng_state()
    attention = tiny.model.config._attn_implementation
    before = outputs(generate(loaded, PROMPTS, batch_size=4, max_new_tokens=6))
    generate(loaded, PROMPTS, batch_size=4, max_new_tokens=6, **CONTINUOUS)
    assert threading.active_count() == threads
    assert loaded.model.config._attn_implementation == attention
    assert torch.equal(torch.get_rng_state(), state)
    paged = loaded.prepared["continuous"]
    assert {id(p) for p in paged.parameters()} == {id(p) for p in loaded.model.parameters()}
    assert outputs(generate(loaded, PROMPTS, batch_size=4, max_new_tokens=6)) == before


@pytest.mark.parametrize(("window", "max_window_layers"), [(4, 0), (4, 2), (40, 2)])
def test_a_sliding_window_is_kept(tiny, window, max_window_layers):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=tiny.config.vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        use_sliding_window=True,
        sliding_window=window,
        max_window_layers=max_window_layers,
    )
    loaded = dataclasses.replace(tiny, model=Qwen2ForCausalLM(config).eval(), config=config, prepared={})
    asked = {"max_new_tokens": 12, "ignore_eos": True}
    simple = generate(loaded, PROMPTS, engine="simple", **asked)
    assert outputs(generate(loaded, PROMPTS, batch_size=4, **CONTINUOUS, **asked)) == outputs(simple)


def test_attention_of_another_kind_is_refused(tiny):
    config = copy.copy(tiny.config)
    config.layer_types = ["linear_attention"] * config.num_hidden_layers
    with pytest.raises(InputError, match=r"only, and .* has layers of linear_attention"):
        make_pool(dataclasses.replace(tiny, config=config, prepared={}))


def test_an_old_transformers_is_refused():
    _check_version("5.25.0.dev0")
    with pytest.raises(InputError, match=r"needs transformers 5\.17 or newer, and this is 5\.9\.1"):
        _check_version("5.9.1")
