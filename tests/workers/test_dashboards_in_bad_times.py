"""Dashboards in bad times, on real workers; what needs no browser to be seen."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest
from shown_widgets import control, state_size, words

import nbkit
from nbkit.app.dashboards import Explore, Hello, Monitor, Scaling

TINY = {"model": "tiny-random"}
ENDLESS = {**TINY, "max_new_tokens": 150, "batch_size": 1, "ignore_eos": True}


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_until_idle(*dashboards):
    wait_for(lambda: not any(each.is_busy for each in dashboards))


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


def says(dashboard, text):
    return text in dashboard.status


def test_a_second_dashboard_waits_for_the_first_and_says_so(explore):
    first, second = explore(["a b c"] * 200, **ENDLESS), explore(**TINY, max_new_tokens=2)
    first.run()
    wait_for(lambda: says(first, "prompts, "))
    second.run()
    wait_for(lambda: says(second, "the workers are busy with another job"))
    first.stop()
    wait_until_idle(first, second)
    assert says(second, "20 prompts in")
    assert says(first, "stopped after")


def test_the_number_of_workers_is_not_changed_under_a_job_of_someone_else(explore, workers):
    dashboard = explore(**TINY, max_new_tokens=2)
    job = workers.submit_generate(["a b c"] * 200, **ENDLESS)
    control(dashboard, "workers").value = 3
    dashboard.run()
    wait_until_idle(dashboard)
    assert says(dashboard, "cannot be changed while a job runs on them")
    assert not job.done()
    job.cancel()


def test_a_second_click_while_it_runs_starts_nothing(explore):
    dashboard = explore(**TINY, max_new_tokens=20)
    for _ in range(5):
        dashboard.run()
    wait_until_idle(dashboard)
    assert len(dashboard.runs) == 1


@pytest.mark.parametrize(("make", "button"), [(Explore, "Run"), (Hello, "Say hello")])
def test_a_click_as_soon_as_the_button_is_on_again_counts(make, button, workers):
    with contextlib.closing(make(workers, **(TINY if make is Explore else {}))) as dashboard:
        wait_until_idle(dashboard)
        is_off = []

        def click_once(change):
            if not change.new and not is_off:
                dashboard.run()
                is_off.append(change.owner.disabled)

        control(dashboard, button).observe(click_once, "disabled")
        dashboard.run()
        wait_for(lambda: is_off)
        wait_until_idle(dashboard)
        assert is_off == [True], "the click was taken"
        assert not control(dashboard, button).disabled


def test_what_buttons_do_can_be_done_from_code(workers):
    with contextlib.closing(Hello(workers)) as hello:
        wait_until_idle(hello)
        hello.run()
        wait_until_idle(hello)
        assert hello.status == "2 of 2 ranks answered."
    with contextlib.closing(Monitor(workers)) as monitor:
        wait_for(lambda: "rank 1" in words(monitor))
        monitor.stop()
        wait_until_idle(monitor)
        assert monitor.status == "Paused."
        monitor.run()
        assert monitor.is_busy and monitor.status == "Watching."


def test_live_mode_keeps_only_what_was_asked_for_last(explore):
    dashboard = explore(["a b c"] * 200, **ENDLESS)
    control(dashboard, "Live").value = True
    wait_for(lambda: says(dashboard, "tokens computed"))
    for tokens in (140, 120, 2):
        control(dashboard, "new tokens").value = tokens
    assert says(dashboard, "Changed: running again.")
    wait_until_idle(dashboard)
    assert [run.settings.max_new_tokens for run in dashboard.runs] == [2]
    assert dashboard.runs[0].is_complete


def test_closing_stops_what_runs(explore, workers):
    dashboard = explore(["a b c"] * 200, **ENDLESS)
    dashboard.run()
    wait_for(lambda: says(dashboard, "tokens computed"))
    dashboard.close()
    assert workers.last_job.done()
    assert workers.run(int) == [0] * workers.world_size


def test_a_killed_rank_loses_no_finished_prompt(explore, workers):
    dashboard = explore(["a b c"] * 200, **ENDLESS)
    dashboard.run()
    wait_for(lambda: says(dashboard, "tokens computed"))
    wait_for(lambda: workers.last_job.partial().finished_prompts > 3)
    os.kill(workers.wait_until_ready()[1].pid, signal.SIGKILL)
    wait_until_idle(dashboard)
    assert says(dashboard, "was killed")
    assert dashboard.runs[0].finished_prompts > 3
    assert not dashboard.runs[0].is_complete


def test_ten_thousand_prompts_are_shown_in_bounded_room(explore):
    dashboard = explore([f"prompt {number}" for number in range(10_000)], **TINY, max_new_tokens=1, batch_size=50)
    dashboard.run()
    wait_until_idle(dashboard)
    assert dashboard.runs[0].finished_prompts == 10_000
    assert dashboard.runs[0].load_samples
    assert state_size(dashboard) < 300_000
    assert "the first 50 of 10000" in words(dashboard)


def test_a_prompt_that_does_not_fit_is_a_sentence(explore):
    dashboard = explore(["a b " * 100_000], **TINY, max_new_tokens=4)
    dashboard.run()
    wait_until_idle(dashboard)
    assert says(dashboard, "more than the model")
    assert dashboard.runs == []


@pytest.fixture
def scaling(workers, tmp_path):
    """Make scaling dashboards on the shared workers, with a sweep of the tiny model; closed at the end."""
    made = []

    def make(repeats=2, path=tmp_path / "sweep.json", **base):
        asked = nbkit.Settings(**{**TINY, "max_new_tokens": 4, "ignore_eos": True, **base})
        grid = nbkit.Grid(ranks=(1, 2), batch_sizes=(1, 4), base=asked, repeats=repeats)
        made.append(Scaling(workers, nbkit.Sweep(grid, ["a b c"] * 8), path))
        wait_until_idle(made[-1])
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.slow
def test_a_sweep_in_a_dashboard_is_stopped_gone_on_with_and_loaded(scaling, tmp_path):
    dashboard = scaling()
    dashboard.run()
    dashboard.run()
    wait_for(lambda: dashboard.sweep.measurements)
    dashboard.stop()
    wait_until_idle(dashboard)
    kept = list(dashboard.sweep.measurements)
    assert 0 < len(kept) < 8
    assert says(dashboard, f"Stopped with {8 - len(kept)} runs left")
    dashboard.run()
    wait_until_idle(dashboard)
    assert dashboard.sweep.is_complete
    assert dashboard.sweep.measurements[: len(kept)] == kept
    assert "2 ranks are" in words(dashboard)

    other = scaling(repeats=3, path=tmp_path / "other.json")
    control(other, "file").value = str(tmp_path / "sweep.json")
    other.load()
    assert other.sweep == dashboard.sweep
    assert other.grid == dashboard.sweep.grid


def test_a_sweep_goes_on_with_what_is_shown_and_saves_it(scaling, workers, tmp_path):
    dashboard = scaling()
    measured = nbkit.run_sweep(workers, dashboard.grid, ["a b c"] * 8)
    dashboard.sweep = measured
    dashboard.run()
    wait_until_idle(dashboard)
    assert says(dashboard, "All runs are measured")
    assert len(measured.measurements) == 8, "nothing was measured again"


def test_another_sweep_in_the_file_is_left_alone(scaling, tmp_path):
    scaling().sweep.save(tmp_path / "sweep.json")
    before = (tmp_path / "sweep.json").read_text()
    dashboard = scaling(max_new_tokens=5)
    dashboard.run()
    wait_until_idle(dashboard)
    assert says(dashboard, "holds another sweep")
    assert (tmp_path / "sweep.json").read_text() == before


def test_closing_a_dashboard_stops_its_sweep(scaling, workers):
    dashboard = scaling(repeats=50, max_new_tokens=100)
    dashboard.run()
    wait_for(lambda: "Measuring" in dashboard.status and workers.last_job.running())
    dashboard.close()
    wait_for(lambda: workers.last_job.done(), seconds=5)
    assert len(dashboard.sweep.measurements) < 400
