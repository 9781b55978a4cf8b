from __future__ import annotations

import pytest

from nbkit.runtime.wire import Placement, Plan


@pytest.mark.parametrize(
    ("ranks", "gpus", "placed"),
    [
        (2, 0, [(None, 2), (None, 2)]),
        (3, 3, [(0, 1), (1, 1), (2, 1)]),
        (2, 4, [(0, 1), (1, 1)]),
        (5, 2, [(0, 3), (1, 2), (0, 3), (1, 2), (0, 3)]),
    ],
)
def test_ranks_are_dealt_to_gpus_and_know_who_shares_theirs(ranks, gpus, placed):
    plan = Plan(ranks, "cuda" if gpus else "cpu", gpus, None)
    placements = [Placement.of(rank, plan) for rank in range(ranks)]
    assert [(each.gpu, each.sharing) for each in placements] == placed
    assert [each.rank for each in placements] == list(range(ranks))


def test_ranks_that_share_a_gpu_need_gloo():
    # All of them, for they are one group: also rank 1, which has its GPU alone.
    assert [Placement.of(rank, Plan(3, "cuda", 2, None)).needs_gloo for rank in range(3)] == [True] * 3
    assert not Placement.of(0, Plan(2, "cuda", 2, None)).needs_gloo
    assert not Placement.of(0, Plan(2, "cpu", 0, None)).needs_gloo
