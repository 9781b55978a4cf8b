from __future__ import annotations

import dataclasses

import pytest
from example_runs import run

from nbkit.records.headline import longest_wait


def waiting(*seconds: float):
    made = run(world_size=len(seconds))
    ranks = [dataclasses.replace(rank, waiting_s=own) for rank, own in zip(made.ranks, seconds, strict=True)]
    return dataclasses.replace(made, ranks=ranks)


def test_the_rank_that_waited_longest_is_named_with_what_it_cost():
    made = waiting(0.1, 2.5, 0.2)
    wait = longest_wait(made)
    assert wait.words == "rank 1 waited 31%: 2.5 s"
    assert wait.seconds == pytest.approx(made.time_parts(1)["waiting"])
    assert wait.seconds / made.wall_s == pytest.approx(2.5 / 8)


def test_a_wait_of_less_than_a_hundredth_is_not_worth_a_word():
    assert longest_wait(waiting(0.079, 0.0)) is None
    assert longest_wait(waiting(0.081, 0.0)).words == "rank 0 waited 1%: 81 ms"
    assert longest_wait(dataclasses.replace(run(), ranks=[])) is None
