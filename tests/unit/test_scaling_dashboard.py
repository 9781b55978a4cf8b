"""The parts of the scaling dashboard, without a browser."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console
from timelines import MODEL, timeline, varied_runs

from nbkit.app.cli.sweep_table import print_sweep
from nbkit.app.dashboards.scaling.scaling import ARTICLE, _machines
from nbkit.app.dashboards.scaling.sweep_controls import SweepControls
from nbkit.app.dashboards.scaling.sweep_results import SweepResults
from nbkit.app.dashboards.scaling.what_if_panel import KnownMachine, WhatIfPanel
from nbkit.errors import InputError
from nbkit.figures.html.sweep_report import sweep_figures, write_sweep_report
from nbkit.measure.sweep import Grid, Measurement, Sweep
from nbkit.records.settings import Settings


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
    machines, left_out = _machines(varied_runs())
    assert left_out == []
    assert list(machines) == ["this machine, smollm2-135m, batched, float32", ARTICLE]
    assert "Fitted to 6 runs here" in machines["this machine, smollm2-135m, batched, float32"].source


NO_BATCHES = "a cost model is of batches, and compiled has none"


def scaled_runs(*engines):
    return [timeline([8] * 40, [20] * 40, n, batch_size=4, engine=engine) for engine in engines for n in (1, 2)]


def test_a_sweep_of_sequences_that_join_one_by_one_has_all_but_lost_time():
    results = SweepResults()
    results.show(scaled_runs("compiled"))
    assert all(not panel._problem.value for panel in results._panels.values())
    assert len(results._speed_up.shown) == len(results._efficiency.shown) == 2
    assert results._heat.shown[0]["z"]
    assert results._pareto.shown[0]["x"]
    assert NO_BATCHES in results._words.value
    assert re.search(r"2 ranks are \d\.\d\d times as fast\.", results._words.value)
    assert [results._panels[part].layout.display for part in (results._lost, results._gap)] == ["none"] * 2


def test_lost_time_is_shown_of_the_series_that_have_it():
    results = SweepResults()
    results.show(scaled_runs("batched", "compiled"))
    assert list(results._series.options) == ["batched, batch size 4", "compiled, batch size 4"]
    assert len(results._speed_up.shown) == 3
    assert re.search(r"2 ranks are .*: (what|\d)", results._words.value)
    results._series.value = "compiled, batch size 4"
    assert results._panels[results._lost].layout.display == "none"
    results._series.value = "batched, batch size 4"
    assert results._panels[results._lost].layout.display is None
    assert results._lost.shown[0]["y"]


def test_a_report_and_a_table_of_them_have_all_but_lost_time(tmp_path):
    grid = Grid(ranks=(1, 2), batch_sizes=(4,), engines=("batched", "compiled"), repeats=1)
    runs = {(run.settings.engine, run.world_size): run for run in scaled_runs("batched", "compiled")}
    sweep = Sweep(grid, [f"prompt {i}" for i in range(40)])
    for point, repeat in grid.plan():
        sweep.measurements.append(Measurement(point, repeat, runs[point.settings.engine, point.ranks]))
    [name] = [name for name in sweep_figures(sweep.runs) if name.startswith("lost time")]
    assert "batched" in name
    assert page_has(write_sweep_report(sweep, tmp_path / "sweep.html"), NO_BATCHES)

    console = Console(file=io.StringIO(), width=200)
    print_sweep(sweep, console)
    rows = console.file.getvalue().splitlines()
    assert sum("compiled, batch size 4" in row for row in rows) == 2
    assert NO_BATCHES in rows[-1]


def page_has(path, sentence):
    return path.read_text().count(sentence) == 1


def test_an_engine_that_cannot_be_simulated_is_named():
    machines, left_out = _machines([*varied_runs(), *scaled_runs("compiled")])
    assert len(machines) == 2
    assert len(left_out) == 1
    panel = WhatIfPanel()
    panel.offer(machines, left_out)
    assert f"smollm2-135m, compiled, float32 cannot be simulated: {NO_BATCHES}" in panel._left_out.value
    panel.offer(machines)
    assert panel._left_out.layout.display == "none"
    asked = panel._settings(MODEL)
    assert (asked.engine, asked.batch_size, asked.split, asked.order) == ("batched", 16, "static", "as_given")
    panel.close()


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
