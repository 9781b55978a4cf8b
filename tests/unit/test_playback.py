"""Playback from a cell: runs and files of them, named or not."""

from __future__ import annotations

import json

import pytest
from example_runs import run

from nbkit import dashboards
from nbkit.errors import InputError
from nbkit.records.run import Run


def grids(playback):
    (player,) = playback.widget.children
    return json.loads(player.grids)


def test_runs_and_files_play_back_on_one_clock_in_the_order_given(tmp_path):
    path = run(batch_size=5).save(tmp_path / "run.json")
    playback = dashboards.Playback(run(), path, mine=run(batch_size=1))
    names = [grid["name"] for grid in grids(playback)]
    assert names == ["batched, batch size 3, 2 workers", "batched, batch size 5, 2 workers", "mine"]
    playback.close()
    playback.close()


def test_runs_with_the_same_to_do_are_told_from_others():
    same, other = (
        [grid["work"] for grid in grids(dashboards.Playback(run(), run(batch_size=1, **changes)))]
        for changes in ({}, {"max_new_tokens": 7})
    )
    assert same[0] == same[1] and other[0] != other[1]


def test_without_a_run_or_its_times_it_is_said_what_is_missing(tmp_path):
    with pytest.raises(InputError, match="no run to play back; give at least one"):
        dashboards.Playback()
    with pytest.raises(InputError, match="no record tells when the tokens"):
        dashboards.Playback(Run.assemble(run().settings, ["a"], [], [], 1, run().machine))
    with pytest.raises(InputError, match=r"gone\.json"):
        dashboards.Playback(tmp_path / "gone.json")
