"""Engines and schedules on real ranks: every prompt exactly once, in order, and what a lack of memory does."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import resource
from pathlib import Path

import pytest
from all_pairs import all_pairs

import nbkit
from nbkit.records.settings import ORDERS, SPLITS

MODEL = "tiny-random"
PROMPTS = [line.lower()[: 5 + 7 * (i % 23)] for i, line in enumerate(nbkit.first_lines(24))]
M_MMAP_THRESHOLD = -3
ASKED = {"model": MODEL, "max_new_tokens": 9}


@pytest.fixture(scope="module")
def simple(workers):
    return workers.generate(PROMPTS, engine="simple", split="static", order="as_given", **ASKED)


ENGINES = ("batched", "compiled", "continuous")
SCHEDULES = all_pairs(ENGINES, (1, 2), SPLITS, ORDERS, (3, "auto"), (None, 200))


@pytest.mark.parametrize(("engine", "ranks", "split", "order", "batch_size", "token_budget"), SCHEDULES)
def test_every_prompt_comes_back_once_in_order_with_simples_text(
    workers, simple, engine, ranks, split, order, batch_size, token_budget
):
    asked = {"engine": engine, "split": split, "order": order, "batch_size": batch_size, "token_budget": token_budget}
    run = workers.generate(PROMPTS, ranks=ranks, **asked, **ASKED)
    assert run.outputs == simple.outputs
    assert run.new_tokens == simple.new_tokens
    assert run.prompt_tokens == simple.prompt_tokens
    assert sorted(place for batch in run.batches for place in batch.indices) == list(range(len(PROMPTS)))
    assert run.world_size == ranks


@pytest.mark.skipif(importlib.util.find_spec("openvino_genai") is None, reason="openvino_genai is not installed")
def test_openvino_on_ranks_gives_simples_text(workers, simple):
    run = workers.generate(PROMPTS, engine="openvino", batch_size=8, **ASKED)
    assert run.outputs == simple.outputs
    assert {batch.rank for batch in run.batches} == {0, 1}


def test_auto_spreads_the_prompts_evenly(workers):
    run = workers.generate(PROMPTS, engine="batched", **ASKED)
    assert run.settings.batch_size == "auto"
    assert run.batch_size == 12
    assert [len(batch.indices) for batch in run.batches] == [12, 12]
    assert nbkit.Run.from_dict(run.to_dict()).batch_size == 12


@pytest.mark.parametrize("engine", ["batched", "compiled"])
def test_sampled_text_is_the_same_on_one_rank_and_on_two(workers, engine):
    drawn = {**ASKED, "temperature": 1.0, "top_p": 0.9, "seed": 5, "engine": engine}
    one, two, other = (workers.generate(PROMPTS, **drawn, **more) for more in ({"ranks": 1}, {}, {}))
    assert one.outputs == two.outputs == other.outputs
    assert workers.generate(PROMPTS, **{**drawn, "seed": 6}).outputs != one.outputs


LARGE = {
    "batched": {"model": MODEL, "max_new_tokens": 4, "ignore_eos": True, "batch_size": 400},
    # Ends after a token or two, but its cache has room for what it might have become.
    "compiled": {"model": nbkit.Settings().model, "max_new_tokens": 180, "stop": [" ", "e", "\n"], "batch_size": 64},
}
SPARE_BYTES = {"batched": 25_000_000, "compiled": 480_000_000}


@pytest.mark.parametrize("engine", ["batched", pytest.param("compiled", marks=pytest.mark.slow)])
def test_a_batch_that_does_not_fit_into_memory_is_halved_and_nothing_is_lost(engine):
    asked = {"engine": engine, "order": "as_given", **LARGE[engine]}
    sequences = asked["batch_size"]
    prompts = ["x" * 180 + str(i) for i in range(sequences)] if engine == "batched" else nbkit.first_lines(sequences)
    with nbkit.Workers(1) as alone:
        alone.generate(prompts[:2], **asked)
        alone.run(limit_memory, SPARE_BYTES[engine])
        run = alone.generate(prompts, **asked)
        alone.run(limit_memory, None)
        free = alone.generate(prompts, **{**asked, "batch_size": run.ranks[0].batch_size})
    assert run.is_complete
    assert run.out_of_memory
    assert run.out_of_memory[0].sequences == sequences
    assert run.ranks[0].batch_size == run.out_of_memory[-1].then < sequences
    assert run.outputs == free.outputs
    assert free.out_of_memory == []
    assert nbkit.Run.from_dict(run.to_dict()) == run


def limit_memory(spare_bytes):
    """On a rank: let the process have so much more memory than it has, or as much as there is."""
    if spare_bytes is None:
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return
    # What is freed goes back to the system at once, and does not count against the limit.
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 64 * 1024)
    # Not the address space (RLIMIT_AS): each thread reserves much of that and uses little.
    [kilobytes] = re.findall(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    limit = 1024 * int(kilobytes) + spare_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
