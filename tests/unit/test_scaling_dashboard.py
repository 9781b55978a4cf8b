"""The parts of the scaling dashboard, without a browser."""

from __future__ import annotations

import time

import pytest
from timelines import MODEL, timeline, varied_runs

from nbkit.dashboards.scaling import ARTICLE, _machines
from nbkit.dashboards.sweep_controls import SweepControls
from nbkit.dashboards.sweep_results import SweepResults
from nbkit.dashboards.what_if_panel import KnownMachine, WhatIfPanel
from nbkit.errors import InputError
from nbkit.settings import Settings
from nbkit.sweep import Grid, Sweep


def simulated(panel):
    deadline = time.monotonic() + 20
    while "Simulated" not in panel._status.value and "problem" not in panel._status.value:
        assert time.monotonic() < deadline, panel._status.value
        time.sleep(0.02)
    return panel._status.value


def test_the_controls_begin_with_the_sweep_and_ask_for_the_same():
    grid = Grid(
        ranks=(1, 3),
        batch_sizes=(2, 8),
        engines=("simple", "batched"),
        dtypes=("float32", "bfloat16"),
        splits=("static", "dynamic"),
        orders=("by_length",),
        base=Settings(max_new_tokens=7, ignore_eos=True),
        repeats=4,
    )
    controls = SweepControls(Sweep(grid, ["own prompt", "another"]))
    assert controls.grid() == grid
    assert controls.prompts() == ["own prompt", "another"]
    controls._prompts.value = 5
    assert len(controls.prompts()) == 5


def test_without_a_sweep_the_controls_offer_one_that_fits_the_workers():
    controls = SweepControls()
    assert controls.grid().ranks == (1, 2)
    controls.suggest(most_ranks=6)
    assert controls.grid().ranks == (1, 2, 4, 6)


def test_what_the_controls_cannot_ask_for_is_said():
    controls = SweepControls()
    controls._ranks.value = "1,two"
    with pytest.raises(InputError, match="ranks takes whole numbers"):
        controls.grid()
    controls._ranks.value = "1"
    for box in controls._engines._boxes.values():
        box.value = False
    with pytest.raises(InputError, match="engines is empty"):
        controls.grid()


def test_results_follow_the_runs_and_the_series_that_is_chosen():
    results = SweepResults()
    assert "Nothing measured yet" in results._words.value
    runs = [timeline([8] * 40, [20] * 40, n, batch_size=size) for n in (1, 2) for size in (4, 16)]
    results.show(runs)
    assert list(results._series.options) == ["batched, batch size 4", "batched, batch size 16"]
    assert "2 ranks are" in results._words.value
    first = results._lost.shown
    results._series.value = "batched, batch size 16"
    assert results._lost.shown != first
    results.show(runs * 2)
    assert results._series.value == "batched, batch size 16", "what was chosen stays"
    assert all(not panel._problem.value for panel in results._panels.values())


def test_one_number_of_ranks_is_enough_to_draw():
    results = SweepResults()
    results.show([timeline([8] * 40, [20] * 40, 1, batch_size=4)])
    assert "One number of ranks so far" in results._words.value
    assert all(not panel._problem.value for panel in results._panels.values())


def test_the_machines_are_the_measured_and_the_articles():
    machines = _machines(varied_runs())
    assert list(machines) == ["this machine, smollm2-135m, batched, float32", ARTICLE]
    assert "Fitted to 6 runs here" in machines["this machine, smollm2-135m, batched, float32"].source


def test_moving_a_slider_simulates_and_advises():
    panel = WhatIfPanel()
    panel.offer({"made up": KnownMachine(MODEL, "Made up.")})
    assert "Made up. Simulated in" in simulated(panel)
    assert "8 ranks" in panel._curve.title
    assert "Advice" in panel._facts.value
    panel._status.say("")
    panel._ranks.value = 1000
    simulated(panel)
    assert "1000 ranks" in panel._curve.title
    panel.close()


def test_a_deadline_that_nothing_meets_is_said_beside_the_rest():
    panel = WhatIfPanel()
    panel._deadline.value = 0.01
    panel._prompts.value = 1_000_000
    panel.offer({"made up": KnownMachine(MODEL, "Made up.")})
    simulated(panel)
    assert "nothing ends within" in panel._panels[panel._offers]._problem.value
    assert "8 ranks" in panel._curve.title
    panel.close()
