"""Explore's tiles and titles: what a person is told of a run that has ended."""

from __future__ import annotations

import dataclasses

from example_runs import run
from shown_widgets import figure_titles, words

from nbkit.app.dashboards.explore.live_view import LiveView
from nbkit.records.run import Run
from nbkit.records.settings import Settings


def shown(made: Run, failure: str = "") -> LiveView:
    view = LiveView()
    view.begin(range(2), Settings())
    view.finish(made, failure)
    return view


def stopped() -> Run:
    made = run()
    finished = sorted(made.batches[0].indices)
    return dataclasses.replace(
        made,
        batches=made.batches[:1],
        outputs=[output if index in finished else None for index, output in enumerate(made.outputs)],
        finish_reasons=[reason if index in finished else None for index, reason in enumerate(made.finish_reasons)],
    )


def test_a_title_says_how_a_run_ended():
    assert "batched: 9 tokens/s overall" in figure_titles(shown(run()))
    assert "batched: stopped after 3 of 10 prompts" in figure_titles(shown(stopped()))
    failed = shown(stopped(), "rank 1 (process 7) was killed by the system:\nit ran out of memory, and so on.")
    assert "batched failed: rank 1 (process 7) was ..." in figure_titles(failed)


def test_a_run_that_failed_before_any_output_is_not_said_to_run():
    view = LiveView()
    view.begin(range(2), Settings())
    view.show_ending(dataclasses.replace(stopped(), outputs=[None] * 10), "no <model>")
    assert "batched failed: no &lt;model&gt;" in figure_titles(view)


def test_times_are_shown_in_the_unit_in_which_they_are_read():
    slow = run()
    slow = dataclasses.replace(
        slow, batches=[dataclasses.replace(batch, tokenize_s=0.1, prefill_s=2.3) for batch in slow.batches]
    )
    assert "2.4 s TTFT, mean" in " ".join(words(shown(slow)).split())
    assert "300 ms TTFT, mean" in " ".join(words(shown(run())).split())


def test_a_tile_names_the_padding_and_what_waiting_cost():
    made = run()
    ranks = [dataclasses.replace(rank, waiting_s=2.5 * rank.rank) for rank in made.ranks]
    told = " ".join(words(shown(dataclasses.replace(made, ranks=ranks))).split())
    assert "38 padding, % of prompt positions" in told
    assert "31%: 2.5 s rank 1 waited" in told
    quick = dataclasses.replace(made, ranks=[dataclasses.replace(rank, waiting_s=0.01) for rank in made.ranks])
    assert "waited" not in words(shown(quick))
