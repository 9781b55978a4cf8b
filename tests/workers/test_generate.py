"""Generation on real ranks: order, accounting, cancelling, bad input."""

from __future__ import annotations

import shutil
import time

import pytest
from all_pairs import all_pairs

import nbkit
from nbkit import models
from nbkit.engines import BatchDone
from nbkit.inference.generation import ShareBegun
from nbkit.inference.schedule import static_share
from nbkit.models.torch_private import emulates
from nbkit.records.settings import ORDERS, SPLITS
from nbkit.runtime import Emitted

TINY = {"model": "tiny-random", "max_new_tokens": 8}
LONGER = {"model": "tiny-random", "max_new_tokens": 100, "ignore_eos": True}


@pytest.fixture(scope="module")
def expected(workers):
    """What one worker gives, one prompt at a time."""
    return workers.generate(varied(23), engine="simple", ranks=1, **TINY).outputs


def varied(n: int) -> list[str]:
    """Prompts that all differ, of many lengths."""
    return [f"{nbkit.FIRST_LINES[i % 10][: 5 + 3 * i]} {'abcdefghij'[i % 10] * (i + 1)}" for i in range(n)]


@pytest.mark.parametrize(("engine", "batch_size"), [("simple", 1), ("batched", 1), ("batched", 4), ("batched", 100)])
def test_outputs_are_in_the_prompts_order_whatever_the_batches(workers, expected, engine, batch_size):
    run = workers.generate(varied(23), engine=engine, batch_size=batch_size, **TINY)

    assert run.outputs == expected
    assert sorted(index for batch in run.batches for index in batch.indices) == list(range(23))
    assert run.is_complete
    assert [rank.rank for rank in run.ranks] == [0, 1]
    for rank in (0, 1):
        parts = run.time_parts(rank)
        assert sum(parts.values()) == pytest.approx(run.wall_s)
        assert all(seconds >= 0 for seconds in parts.values())


def test_three_workers_give_what_one_gives_even_with_fewer_prompts_than_ranks(expected):
    with nbkit.Workers(3) as three:
        assert three.generate(varied(23), batch_size=5, **TINY).outputs == expected
        assert three.generate(varied(23)[:2], **TINY).outputs == expected[:2]


@pytest.mark.parametrize(("split", "order", "batch_size"), all_pairs(SPLITS, ORDERS, (1, 3, 100)))
def test_every_schedule_gives_every_prompt_once_and_in_order(workers, expected, split, order, batch_size):
    run = workers.generate(varied(23), batch_size=batch_size, split=split, order=order, **TINY)

    assert run.outputs == expected
    assert sorted(index for batch in run.batches for index in batch.indices) == list(range(23))
    for rank in (0, 1):
        assert sum(run.time_parts(rank).values()) == pytest.approx(run.wall_s)


def test_order_by_length_pads_less(workers):
    asked = {"engine": "batched", "batch_size": 4, "pad_to_multiple_of": 1, **TINY}
    given, ordered = (workers.generate(varied(24)[::-5] + varied(24), order=order, **asked) for order in ORDERS)
    assert ordered.totals.padding_tokens < given.totals.padding_tokens
    assert ordered.outputs == given.outputs
    for rank in (0, 1):
        longest = [max(ordered.prompt_tokens[i] for i in b.indices) for b in ordered.batches if b.rank == rank]
        assert longest == sorted(longest, reverse=True)


def test_fewer_ranks_than_started_leave_the_others_idle_and_the_run_says_so(workers, expected):
    run = workers.generate(varied(23), ranks=1, batch_size=4, **TINY)

    assert run.outputs == expected
    assert run.world_size == 1
    assert run.idle_ranks == 1
    assert [rank.rank for rank in run.ranks] == [0]
    assert {batch.rank for batch in run.batches} == {0}
    assert run.summary()["workers"] == "1 of 2"
    assert workers.generate(varied(23), batch_size=4, **TINY).idle_ranks == 0


@pytest.mark.parametrize("ranks", [3, 0, -1, 1.5, True])
def test_a_number_of_ranks_that_there_are_not_is_refused(workers, ranks):
    with pytest.raises(nbkit.InputError, match=r"3 ranks are asked for, but only 2|whole number of at least 1"):
        workers.generate(["a"], ranks=ranks, **TINY)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
def test_a_static_share_is_what_accelerate_cuts(workers, count):
    def cut(count):
        from accelerate import PartialState

        with PartialState().split_between_processes(list(range(count))) as share:
            return share

    assert workers.run(cut, count) == [list(static_share(count, 2, rank)) for rank in (0, 1)]


@pytest.mark.parametrize("engine", ["batched", "compiled"])
def test_every_output_comes_back_with_its_times_from_every_rank(workers, engine):
    run = workers.generate(varied(9), engine=engine, batch_size=3, **LONGER)

    rank_of = {index: batch.rank for batch in run.batches for index in batch.indices}
    assert set(rank_of.values()) == {0, 1}
    for times, tokens in zip(run.times, run.new_tokens, strict=True):
        assert run.begin_s <= times.taken_s < times.first_token_s < times.end_s <= run.end_s
        assert times.inter_token.count == tokens - 1
    own = run.latencies
    assert (own.ttft.count, own.inter_token.count, own.end_to_end.count) == (9, 9 * 99, 9)
    assert own.ttft.p50_s <= own.ttft.p99_s < own.end_to_end.p99_s <= run.wall_s
    # The mean and the percentiles are of the same tokens.
    assert sum(times.ttft_s for times in run.times) / 9 == pytest.approx(run.mean_ttft_s, rel=0.05, abs=0.005)


def test_batches_come_up_as_they_finish(workers):
    job = workers.submit_generate(varied(10), batch_size=2, **TINY)
    values = [event.value for event in job.events() if isinstance(event, Emitted)]

    assert sum(isinstance(value, ShareBegun) for value in values) == 2
    batches = [value for value in values if isinstance(value, BatchDone)]
    assert sorted(output.index for batch in batches for output in batch.outputs) == list(range(10))
    assert [b.record for b in batches if b.record.rank == 0] == [b for b in job.result().batches if b.rank == 0]


def test_a_cancelled_generation_keeps_what_is_finished_and_the_ranks(workers):
    prompts = nbkit.first_lines(60)
    pids = [info.pid for info in workers.wait_until_ready()]
    job = workers.submit_generate(prompts, engine="simple", **LONGER)
    for event in job.events():
        if isinstance(event, Emitted) and isinstance(event.value, BatchDone):
            job.cancel()
            break

    with pytest.raises(nbkit.JobCancelled) as caught:
        job.result(timeout=30)

    partial = caught.value.partial
    assert 1 <= partial.finished_prompts < 60
    assert not partial.is_complete
    again = workers.generate(prompts[:10], engine="simple", **LONGER)
    finished = {p: o for p, o in zip(partial.prompts, partial.outputs, strict=True) if o is not None}
    assert finished.items() <= dict(zip(again.prompts, again.outputs, strict=True)).items()
    assert all(rank.load_s == 0 for rank in again.ranks), "the model is still there"
    assert [info.pid for info in workers.wait_until_ready()] == pids


def test_a_killed_rank_ends_the_generation_but_not_the_workers(own_workers):
    import os
    import signal

    job = own_workers.submit_generate(nbkit.first_lines(60), engine="simple", **LONGER)
    next(event for event in job.events() if isinstance(getattr(event, "value", None), BatchDone))
    os.kill(own_workers.wait_until_ready()[1].pid, signal.SIGKILL)
    with pytest.raises(nbkit.RankDied, match="rank 1"):
        job.result(timeout=10)
    assert 0 < own_workers.last_job.partial().finished_prompts < 60, "finished work is not lost"
    assert own_workers.generate(["a prompt"], **TINY).is_complete


@pytest.mark.parametrize(
    ("prompts", "changes", "message"),
    [
        ([], {}, "no prompts"),
        ("one string", {}, "list of strings"),
        (["fine", 3], {}, "prompt 1 is not a string"),
        ([""], {}, "empty"),
        (["fine"], {"batch_size": 0}, "batch_size must be at least 1, not 0"),
        (["fine"], {"batch_size": "x"}, "batch_size must be a whole number"),
        (["fine"], {"engine": "warp"}, "engine must be one of"),
        (["fine"], {"dtype": "int3"}, "dtype must be one of"),
        (["fine"], {"batchsize": 3}, "no setting 'batchsize'"),
        (["fine"], {"model": "no-such-model"}, "unknown model"),
        (["fine", "x" * 300], TINY, "prompt 1 has 300 tokens"),
        (["fine"], {"model": "tiny-random", "max_new_tokens": 256}, "leaves no room"),
    ],
)
def test_bad_input_is_refused_and_the_workers_go_on(workers, prompts, changes, message):
    with pytest.raises(nbkit.NbkitError, match=message):
        workers.generate(prompts, **changes)
    assert workers.generate(["fine"], **TINY).is_complete


def test_a_corrupt_model_folder_is_named_and_the_workers_go_on(workers, tmp_path):
    folder = tmp_path / "corrupt"
    shutil.copytree(models.locate("tiny-random", "float32"), folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])

    with pytest.raises(nbkit.ModelError, match="corrupt"):
        workers.generate(["fine"], model=str(folder))
    assert workers.generate(["fine"], **TINY).is_complete


def test_a_loaded_model_starts_the_next_run_at_once(workers):
    workers.generate(["warm"], **TINY)
    began = time.monotonic()
    run = workers.generate(["again"], **TINY)
    assert all(rank.load_s == 0 for rank in run.ranks)
    assert time.monotonic() - began < 5


def test_a_dtype_that_the_processor_emulates_is_said_once(workers, capsys):
    asked = {"model": "tiny-random", "max_new_tokens": 2}
    workers.generate(["a b"], **asked)
    workers.generate(["a b"], **asked, dtype="bfloat16")
    said = [line for line in capsys.readouterr().out.splitlines() if "no arithmetic for" in line]
    sentence = "[rank 0] This processor has no arithmetic for bfloat16: float32 is faster here."
    assert said == [sentence] * emulates("bfloat16")
