from __future__ import annotations

import dataclasses

import pytest
from example_runs import run
from hypothesis import given
from hypothesis import strategies as st
from timelines import FLAT, MODEL, timeline

from nbkit.analysis.cost_model import CostModel
from nbkit.analysis.lost_time import LOSSES, lost_time
from nbkit.errors import InputError
from nbkit.records.run import Run

NEVER_NEGATIVE = [name for name in LOSSES if name not in ("slower ranks", "rest")]
SOME = [5 + 3 * (i % 7) for i in range(48)]


def assert_adds_up(lost):
    assert sum(lost.losses.values()) == pytest.approx(lost.lost_s, abs=1e-9)
    assert list(lost.losses) == list(LOSSES)
    assert all(lost.losses[name] >= 0 for name in NEVER_NEGATIVE)


def assert_is_named(lost, cause, share=0.95):
    assert_adds_up(lost)
    assert lost.largest == cause
    assert lost.losses[cause] >= share * lost.lost_s, lost.losses


def test_one_slow_rank():
    made = timeline([8] * 64, [20] * 64, 2, slower=lambda rank: 1 + rank, batch_size=16)
    assert_is_named(lost_time(made, MODEL), "slower ranks")
    alike = timeline([8] * 64, [20] * 64, 2, batch_size=16)
    gained = lost_time(made, MODEL).lost_s - lost_time(alike, MODEL).lost_s
    assert gained == pytest.approx(made.wall_s - alike.wall_s)


def test_all_ranks_slower():
    made = timeline([8] * 64, [20] * 64, 4, slower=lambda rank: 1.5, batch_size=16)
    assert_is_named(lost_time(made, MODEL), "slower ranks")


def test_a_hundred_prompts_on_five_ranks_at_batch_size_16():
    one, five = (timeline([16] * 100, [100] * 100, n, FLAT, batch_size=16) for n in (1, 5))
    lost = lost_time(five, FLAT)
    assert_is_named(lost, "batch quantisation")
    # 7 batches on one rank, 2 on each of five: 2 - 7 / 5 batches more than a fifth.
    gap = lost.minus(lost_time(one, FLAT))
    a_batch_s = FLAT.prefill_fixed_s + 99 * FLAT.step_fixed_s
    assert gap.losses["batch quantisation"] == pytest.approx(0.6 * a_batch_s)
    assert gap.wall_s == pytest.approx(five.wall_s - one.wall_s / 5)
    assert sum(gap.losses.values()) == pytest.approx(gap.wall_s)


def test_three_batches_on_two_ranks():
    three = timeline([16] * 3, [50] * 3, 2, FLAT, batch_size=1)
    assert_is_named(lost_time(three, FLAT), "batch quantisation")


def test_all_padding():
    lengths = [400 if i % 16 == 0 else 1 for i in range(64)]
    assert_is_named(lost_time(timeline(lengths, [1] * 64, 2, batch_size=16), MODEL), "padding", share=0.9)


def test_steps_after_the_end_count_as_padding():
    new = [200 if i % 16 == 0 else 1 for i in range(64)]
    assert_is_named(lost_time(timeline([8] * 64, new, 2, batch_size=16), MODEL), "padding")


def test_batches_larger_than_the_size_that_was_left_in_the_end_are_full():
    """A rank whose batches were halved for want of memory tells the size that it ended with."""
    made = timeline([8] * 64, [20] * 64, 1, batch_size=16)
    halved = dataclasses.replace(
        made,
        settings=dataclasses.replace(made.settings, batch_size="auto"),
        ranks=[dataclasses.replace(made.ranks[0], batch_size=4)],
    )
    lost = lost_time(halved, MODEL)
    assert_adds_up(lost)
    assert lost.useful_s <= lost.wall_s
    assert lost.losses == lost_time(made, MODEL).losses


def test_a_slow_gather():
    made = timeline([8] * 64, [20] * 64, 2, gather_s=5.0, batch_size=16)
    assert_is_named(lost_time(made, MODEL), "gather and synchronisation")


def test_one_rank_with_longer_work():
    new = [10] * 32 + [40] * 32
    assert_is_named(lost_time(timeline([8] * 64, new, 2, batch_size=16), MODEL), "imbalance")


def test_a_rank_that_starts_late():
    made = timeline([8] * 64, [20] * 64, 2, starts_late_s=lambda rank: 3.0 * rank, batch_size=16)
    assert_is_named(lost_time(made, MODEL), "start-up and tokenisation")


def test_time_that_no_clock_was_set_on():
    made = timeline([8] * 32, [20] * 32, 1, batch_size=16)
    longer = dataclasses.replace(made.ranks[0], end_s=made.ranks[0].end_s + 4.0)
    assert_is_named(lost_time(dataclasses.replace(made, ranks=[longer]), MODEL), "rest")


def test_one_prompt_at_a_time_loses_nothing_to_batches():
    model = dataclasses.replace(MODEL, engine="simple")
    made = timeline(SOME, [20] * 48, 2, model, engine="simple", pad_to_multiple_of=1)
    lost = lost_time(made, model)
    assert_adds_up(lost)
    assert lost.losses["batch quantisation"] == pytest.approx(0, abs=1e-9)
    assert lost.losses["padding"] == pytest.approx(0, abs=1e-9)


lengths = st.lists(st.integers(1, 300), min_size=1, max_size=60)


@given(
    lengths,
    st.randoms(use_true_random=False),
    st.integers(1, 7),
    st.sampled_from([1, 2, 16, 100]),
    st.floats(0.5, 3),
    st.floats(0, 2),
)
def test_every_account_adds_up(prompt_tokens, dice, ranks, batch_size, slower, late_s):
    new = [dice.randint(1, 80) for _ in prompt_tokens]
    made, one = (
        timeline(
            prompt_tokens,
            new,
            n,
            slower=lambda rank: slower if rank % 2 else 1.0,
            starts_late_s=lambda rank: late_s if rank == 0 else 0.0,
            batch_size=batch_size,
        )
        for n in (ranks, 1)
    )
    lost, reference = lost_time(made, MODEL), lost_time(one, MODEL)
    assert_adds_up(lost)
    assert lost.useful_s == pytest.approx(reference.useful_s / ranks)
    gap = lost.minus(reference)
    assert gap.wall_s == pytest.approx(made.wall_s - one.wall_s / ranks)
    assert sum(gap.losses.values()) == pytest.approx(gap.wall_s, abs=1e-9)


@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 20))
def test_records_of_any_numbers_add_up(prompts, world_size, batch_size):
    made = run(prompts, world_size, batch_size)
    lost = lost_time(made, CostModel.fit([made]))
    assert sum(lost.losses.values()) == pytest.approx(lost.lost_s, abs=1e-9)


def test_a_run_without_ranks_is_all_rest():
    empty = Run.assemble(run().settings, ["a"], [], [], 0, {})
    assert lost_time(empty, MODEL).losses["rest"] == empty.wall_s


def test_no_batches_fit_no_model():
    with pytest.raises(InputError):
        CostModel.fit([Run.assemble(run().settings, ["a"], [], [], 0, {})])
