"""Dashboards in bad times, on real workers; what needs no browser to be seen."""

from __future__ import annotations

import os
import signal
import time

import pytest

from nbkit.dashboards import Explore

TINY = {"model": "tiny-random"}
ENDLESS = {**TINY, "max_new_tokens": 150, "batch_size": 1, "ignore_eos": True}


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_until_idle(*dashboards):
    wait_for(lambda: not any(each._background.is_busy for each in dashboards))


@pytest.fixture
def explore(workers):
    """Make dashboards on the shared workers; they are closed at the end."""
    made = []

    def make(prompts=None, **settings):
        made.append(Explore(workers, prompts, **settings))
        wait_until_idle(made[-1])
        return made[-1]

    yield make
    for each in made:
        each.close()


def says(dashboard, words):
    return words in dashboard._status.value


def test_a_second_dashboard_waits_for_the_first_and_says_so(explore):
    first, second = explore(["a b c"] * 200, **ENDLESS), explore(**TINY, max_new_tokens=2)
    first._on_run()
    wait_for(lambda: says(first, "prompts, "))
    second._on_run()
    wait_for(lambda: says(second, "the workers are busy with another job"))
    first._stop("Stopping.")
    wait_until_idle(first, second)
    assert says(second, "20 prompts in")
    assert says(first, "stopped after")


def test_the_number_of_workers_is_not_changed_under_a_job_of_someone_else(explore, workers):
    dashboard = explore(**TINY, max_new_tokens=2)
    job = workers.submit_generate(["a b c"] * 200, **ENDLESS)
    dashboard._workers.slider.value = 3
    dashboard._on_run()
    wait_until_idle(dashboard)
    assert says(dashboard, "cannot be changed while a job runs on them")
    assert not job.done()
    job.cancel()


def test_a_second_click_while_it_runs_starts_nothing(explore):
    dashboard = explore(**TINY, max_new_tokens=20)
    for _ in range(5):
        dashboard._on_run()
    wait_until_idle(dashboard)
    assert len(dashboard.runs) == 1


def test_live_mode_keeps_only_what_was_asked_for_last(explore):
    dashboard = explore(["a b c"] * 200, **ENDLESS)
    dashboard._live.value = True
    wait_for(lambda: says(dashboard, "tokens computed"))
    for tokens in (140, 120, 2):
        dashboard._controls._max_new_tokens.value = tokens
    assert says(dashboard, "Changed: running again.")
    wait_until_idle(dashboard)
    assert [run.settings.max_new_tokens for run in dashboard.runs] == [2]
    assert dashboard.runs[0].is_complete


def test_closing_stops_what_runs(explore, workers):
    dashboard = explore(["a b c"] * 200, **ENDLESS)
    dashboard._on_run()
    wait_for(lambda: says(dashboard, "tokens computed"))
    dashboard.close()
    assert workers.last_job.done()
    assert workers.run(int) == [0] * workers.world_size


def test_a_killed_rank_loses_no_finished_prompt(explore, workers):
    dashboard = explore(["a b c"] * 200, **ENDLESS)
    dashboard._on_run()
    wait_for(lambda: says(dashboard, "tokens computed"))
    wait_for(lambda: workers.last_job.partial().finished_prompts > 3)
    os.kill(workers.wait_until_ready()[1].pid, signal.SIGKILL)
    wait_until_idle(dashboard)
    assert says(dashboard, "was killed")
    assert dashboard.runs[0].finished_prompts > 3
    assert not dashboard.runs[0].is_complete


def test_ten_thousand_prompts_are_shown_in_bounded_room(explore):
    dashboard = explore([f"prompt {number}" for number in range(10_000)], **TINY, max_new_tokens=1, batch_size=50)
    dashboard._on_run()
    wait_until_idle(dashboard)
    assert dashboard.runs[0].finished_prompts == 10_000
    assert dashboard.runs[0].load_samples
    state = str([panel.get_state() for panel in (dashboard._view._timeline, dashboard._view._outputs)])
    assert len(state) < 300_000
    assert "the first 50 of 10000" in str(dashboard._view._accordion.titles)


def test_a_prompt_that_does_not_fit_is_a_sentence(explore):
    dashboard = explore(["a b " * 100_000], **TINY, max_new_tokens=4)
    dashboard._on_run()
    wait_until_idle(dashboard)
    assert says(dashboard, "more than the model")
    assert dashboard.runs == []
