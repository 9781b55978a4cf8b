"""What the first time costs, on real ranks: before the run, on every rank, or seen as a part of a cold one."""

from __future__ import annotations

import pytest
from slow_shapes import SlowShapes

import nbkit
from nbkit.inference.generation import Preparing
from nbkit.runtime import Emitted

pytestmark = [pytest.mark.ranks, pytest.mark.model]

COST_S = 0.05
ASKED = {"model": "tiny-random", "max_new_tokens": 30, "ignore_eos": True}
PROMPTS = [f"{nbkit.FIRST_LINES[i % 10][: 5 + 3 * i]} {'abcdefghij'[i % 10] * (i + 1)}" for i in range(23)]


class Noted(SlowShapes):
    """Notes when in its job a new shape was met."""

    def _meet(self, shape):
        if shape not in self._known:
            nbkit.current_job().kept["met"].append(nbkit.current_job().elapsed_s)
        super()._meet(shape)


def make_shapes_cost():
    kept = nbkit.current_job().kept
    kept.setdefault("met", [])
    if "slow" not in kept:
        kept["slow"] = Noted(pytest.MonkeyPatch(), COST_S)


def met_since():
    """When, in the job before this one, shapes were met that were new."""
    kept = nbkit.current_job().kept
    met, kept["met"] = kept["met"], []
    return met


@pytest.fixture
def slow_workers():
    with nbkit.Workers(2) as workers:
        workers.run(make_shapes_cost)
        yield workers


@pytest.mark.parametrize(
    "settings",
    [
        {"engine": "compiled", "batch_size": 8},
        {"engine": "batched", "batch_size": 4},
        {"engine": "batched", "batch_size": 4, "split": "static", "order": "as_given"},
    ],
    ids=["compiled", "batched", "article"],
)
def test_new_shapes_are_met_before_the_run_and_never_again(slow_workers, settings):
    first = slow_workers.generate(PROMPTS, **ASKED, **settings)
    for rank, met in zip(first.ranks, slow_workers.run(met_since), strict=True):
        assert met and max(met) <= rank.begin_s
        assert rank.warm_up_s >= COST_S * len(met)
        assert rank.cold_start_s == 0
    assert first.warm_up_s == max(rank.warm_up_s for rank in first.ranks)
    again = slow_workers.generate(PROMPTS, **ASKED, **settings)
    assert slow_workers.run(met_since) == [[], []]
    assert again.outputs == first.outputs


def test_a_cold_start_is_a_part_of_the_run(slow_workers):
    run = slow_workers.generate(PROMPTS, **ASKED, engine="batched", batch_size=4, warm_up=False)
    for rank, met in zip(run.ranks, slow_workers.run(met_since), strict=True):
        began_s, ended_s = rank.begin_s, rank.begin_s + rank.cold_start_s
        # The proof comes before the run in any case.
        assert any(began_s <= at_s <= ended_s for at_s in met) and max(met) <= ended_s
        parts = run.time_parts(rank.rank)
        assert parts["warm-up"] == rank.cold_start_s >= COST_S
        assert sum(parts.values()) == pytest.approx(run.wall_s)
        assert all(seconds >= -1e-6 for seconds in parts.values())
    again = slow_workers.generate(PROMPTS, **ASKED, engine="batched", batch_size=4, warm_up=False)
    assert max(rank.cold_start_s for rank in again.ranks) < COST_S
    assert again.outputs == run.outputs


def test_a_long_warm_up_is_told_while_it_lasts(slow_workers):
    job = slow_workers.submit_generate(PROMPTS, **ASKED, engine="compiled", batch_size=8)
    job.result()
    told = [
        event.value.words
        for event in job.events()
        if isinstance(event, Emitted) and isinstance(event.value, Preparing)
    ]
    assert told and all(words.startswith("preparing batches of up to 8: once, ") for words in told)


def test_a_cancel_ends_a_warm_up(slow_workers):
    job = slow_workers.submit_generate(PROMPTS, **{**ASKED, "max_new_tokens": 100}, engine="compiled", batch_size=8)
    for event in job.events():
        if isinstance(event, Emitted) and isinstance(event.value, Preparing):
            job.cancel()
            break
    with pytest.raises(nbkit.JobCancelled):
        job.result()
    assert len(slow_workers.generate(PROMPTS[:2], **ASKED, engine="simple").outputs) == 2
