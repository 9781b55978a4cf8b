"""Explore's comparison against a baseline."""

from __future__ import annotations

import re

from example_runs import run
from shown_widgets import control, figure, pictured, words

from nbkit.app.dashboards.explore.run_history import RunHistory
from nbkit.records.run import Run


def history(*runs: Run) -> RunHistory:
    made = RunHistory()
    for each in runs:
        made.add(each)
    return made


def rows(of: RunHistory) -> dict[str, list[str]]:
    """The comparison's measures, with what each run has of them."""
    [table] = [text for text in _tables(of) if "tokens/s" in text]
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)]
    return {row[0]: row[1:] for row in found}


def _tables(of: RunHistory) -> list[str]:
    return [of._comparison._summaries.value]


FIRST, SECOND = "1: batched 3, 2w", "2: batched 3, 2w"


def test_figures_are_held_against_the_oldest_run_unless_another_is_chosen():
    made = history(run(prompts=4), run(prompts=8))
    told = rows(made)
    assert told[""] == [f"{FIRST} (baseline)", SECOND]
    assert told["tokens/s"] == ["3.5", "7.0 (2.00×)"]
    assert told["new tokens"] == ["28", "56 (2.00×)"]
    assert told["prompts"] == ["4 of 4", "8 of 8"]
    assert told["TTFT p99 ms"] == ["-", "-"]
    assert f"{FIRST}<br>(baseline)" in figure(made, "2.0 times").figure["data"][0]["x"]

    control(made, "baseline").value = SECOND
    assert rows(made)["tokens/s"] == ["3.5 (0.50×)", "7.0"]
    assert f"only in {SECOND}" not in words(made)


def test_what_was_chosen_stays_the_baseline_while_it_is_compared():
    made = history(run(prompts=4), run(prompts=8))
    control(made, "baseline").value = SECOND
    made.add(run(prompts=2))
    assert control(made, "baseline").value == SECOND
    pictured(made, "trash")[1].click()
    assert control(made, "baseline").value == FIRST


def test_a_pinned_run_is_the_baseline_and_one_run_has_none():
    made = history(run(prompts=4))
    assert "(baseline)" not in words(made)
    made.add(run(prompts=8))
    pictured(made, "thumb-tack")[0].value = True  # the newest stands on top
    assert control(made, "baseline").value == SECOND
    assert rows(made)[""] == [FIRST, f"{SECOND} (baseline)"]


def test_a_failed_run_is_called_failed():
    made = RunHistory()
    made.add(run(), "rank 1 was killed.")
    assert "failed: rank 1 was killed. batched" in words(made)
