"""The parts of the scaling dashboard, without a browser."""

from __future__ import annotations

import io
import re
import time

import pytest
from in_flight_timelines import in_flight_run
from rich.console import Console
from shown_widgets import control, figure, figure_titles, words
from timelines import MODEL, timeline, varied_runs

from nbkit.app.cli.sweep_table import print_sweep
from nbkit.app.dashboards.scaling.known_machines import ARTICLE, KnownMachine, known_machines
from nbkit.app.dashboards.scaling.sweep_controls import SweepControls
from nbkit.app.dashboards.scaling.sweep_results import SweepResults
from nbkit.app.dashboards.scaling.what_if_panel import WhatIfPanel
from nbkit.errors import InputError
from nbkit.figures.html.sweep_report import sweep_figures, write_sweep_report
from nbkit.measure.sweep import Grid, Measurement, Sweep
from nbkit.records.settings import Settings


def simulated(panel):
    deadline = time.monotonic() + 20
    while panel.is_busy:
        assert time.monotonic() < deadline, panel.status
        time.sleep(0.02)
    return panel.status


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
    control(controls, "prompts").value = 5
    assert len(controls.prompts()) == 5


def test_an_axis_without_a_control_of_its_own_stays_until_its_field_is_chosen():
    grid = Grid(axes={"max_new_tokens": (5, 10), "temperature": (0.0, 0.5)}, base=Settings(max_new_tokens=7))
    controls = SweepControls(Sweep(grid, ["a prompt"]))
    assert controls.grid() == grid
    control(controls, "new tokens").value = 30
    asked = controls.grid()
    assert asked.axes == {"temperature": (0.0, 0.5)}
    assert asked.base.max_new_tokens == 30


def test_without_a_sweep_the_controls_offer_one_that_fits_the_workers():
    controls = SweepControls()
    assert controls.grid().ranks == (1, 2)
    controls.suggest(most_ranks=6)
    assert controls.grid().ranks == (1, 2, 4, 6)


def test_what_the_controls_cannot_ask_for_is_said():
    controls = SweepControls()
    control(controls, "ranks").value = "1,two"
    with pytest.raises(InputError, match="ranks takes whole numbers"):
        controls.grid()
    control(controls, "ranks").value = "1"
    for engine in controls.grid().engines:
        control(controls, engine).value = False
    with pytest.raises(InputError, match="engines is empty"):
        controls.grid()


def test_results_follow_the_runs_and_the_series_that_is_chosen():
    results = SweepResults()
    assert "Nothing measured yet" in words(results)
    runs = [timeline([8] * 40, [20] * 40, n, batch_size=size) for n in (1, 2) for size in (4, 16)]
    results.show(runs)
    assert list(control(results, "series").options) == ["batched, batch size 4", "batched, batch size 16"]
    assert "2 ranks are" in words(results)
    first = figure(results, "lost to").shown
    control(results, "series").value = "batched, batch size 16"
    assert figure(results, "lost to").shown != first
    results.show(runs * 2)
    assert control(results, "series").value == "batched, batch size 16", "what was chosen stays"
    assert "Error" not in words(results)


def test_one_number_of_ranks_is_enough_to_draw():
    results = SweepResults()
    results.show([timeline([8] * 40, [20] * 40, 1, batch_size=4)])
    assert "One number of ranks so far" in words(results)
    assert "Error" not in words(results)


def test_the_machines_are_the_measured_and_the_articles():
    machines, left_out = known_machines(varied_runs())
    assert left_out == []
    assert list(machines) == ["this machine, smollm2-135m, batched, float32", ARTICLE]
    assert "Fitted to 6 runs here" in machines["this machine, smollm2-135m, batched, float32"].source


NOT_TOLD = "continuous reads prompts in the same steps in which other sequences get their tokens"


def scaled_runs(*engines):
    return [timeline([8] * 40, [20] * 40, n, batch_size=4, engine=engine) for engine in engines for n in (1, 2)]


def test_a_sweep_whose_work_is_not_told_has_all_but_lost_time():
    results = SweepResults()
    results.show(scaled_runs("continuous"))
    assert "Error" not in words(results)
    for title in ("times as fast", "efficiency"):
        assert len(figure(results, title).shown) == 2
    assert figure(results, "Most tokens/s").shown[0]["z"]
    assert figure(results, "pace").shown[0]["x"]
    assert NOT_TOLD in words(results)
    assert re.search(r"2 ranks are \d\.\d\d times as fast\.", words(results))
    assert not [title for title in figure_titles(results) if "lost to" in title or "ideal" in title]


def test_the_default_engine_has_lost_time_and_is_simulated(tiny):
    runs = [in_flight_run(tiny, ["ab " * 6] * 24, [10] * 24, n, batch_size=4) for n in (1, 2)]
    results = SweepResults()
    results.show(runs)
    assert figure(results, "lost to").shown[0]["y"]
    assert re.search(r"2 ranks are .*: (what|\d)", words(results))
    machines, left_out = known_machines(runs)
    assert left_out == []
    panel = WhatIfPanel()
    panel.offer(machines)
    assert "stretches of steps take" in simulated(panel)
    assert re.search(r"prefills\s+\d+", words(panel))
    assert re.search(r"most side by side\s+16", words(panel))
    assert "Advice" in words(panel)
    panel.close()


def test_lost_time_is_shown_of_the_series_that_have_it():
    results = SweepResults()
    results.show(scaled_runs("batched", "continuous"))
    assert list(control(results, "series").options) == ["batched, batch size 4", "continuous, batch size 4"]
    assert len(figure(results, "times as fast").shown) == 3
    assert re.search(r"2 ranks are .*: (what|\d)", words(results))
    control(results, "series").value = "continuous, batch size 4"
    assert not [title for title in figure_titles(results) if "lost to" in title]
    control(results, "series").value = "batched, batch size 4"
    assert figure(results, "lost to").shown[0]["y"]


def test_a_report_and_a_table_of_them_have_all_but_lost_time(tmp_path):
    grid = Grid(ranks=(1, 2), batch_sizes=(4,), engines=("batched", "continuous"), repeats=1)
    runs = {(run.settings.engine, run.world_size): run for run in scaled_runs("batched", "continuous")}
    sweep = Sweep(grid, [f"prompt {i}" for i in range(40)])
    for point, repeat in grid.plan():
        sweep.measurements.append(Measurement(point, repeat, runs[point.settings.engine, point.ranks]))
    [name] = [name for name in sweep_figures(sweep.runs) if name.startswith("lost time")]
    assert "batched" in name
    assert page_has(write_sweep_report(sweep, tmp_path / "sweep.html"), NOT_TOLD)

    console = Console(file=io.StringIO(), width=200)
    print_sweep(sweep, console)
    rows = console.file.getvalue().splitlines()
    assert sum("continuous, batch size 4" in row for row in rows) == 2
    assert NOT_TOLD in rows[-1]


def page_has(path, sentence):
    return path.read_text().count(sentence) == 1


def test_an_engine_that_cannot_be_simulated_is_named():
    machines, left_out = known_machines([*varied_runs(), *scaled_runs("continuous")])
    assert len(machines) == 2
    assert len(left_out) == 1
    panel = WhatIfPanel()
    panel.offer(machines, left_out)
    assert f"smollm2-135m, continuous, float32 cannot be simulated: {NOT_TOLD}" in words(panel)
    panel.offer(machines)
    assert "cannot be simulated" not in words(panel)
    panel.close()


def test_moving_a_slider_simulates_and_advises():
    panel = WhatIfPanel()
    panel.offer({"made up": KnownMachine(MODEL, "Made up.")})
    assert "Made up. Simulated in" in simulated(panel)
    assert "8 ranks: " in " ".join(figure_titles(panel))
    assert re.search(r"batches\s+64", words(panel)), "of 1000 prompts, 16 at a time"
    assert "Advice" in words(panel)
    control(panel, "ranks").value = 1000
    simulated(panel)
    assert "1000 ranks: " in " ".join(figure_titles(panel))
    panel.close()


def test_the_articles_machine_says_what_it_cannot_hold_and_what_nobody_has_measured():
    panel = WhatIfPanel()
    machines, _ = known_machines([])
    control(panel, "batch size").value = 256
    control(panel, "ranks").value = 4
    panel.offer(machines)
    said = simulated(panel)
    assert "Batches of 250 do not fit into 24 GiB" in said
    assert "Extrapolated: batch size 125, beyond the 4 to 16 measured" in said
    assert re.search(r"largest batch\s+125", words(panel))
    assert "Left out, for want of memory: batch size 256 on up to 4 ranks" in words(panel)
    assert "assumed: 1.5 ms for each further rank" in words(panel)
    panel.close()


def test_a_deadline_that_nothing_meets_is_said_beside_the_rest():
    panel = WhatIfPanel()
    control(panel, "deadline").value = 0.01
    control(panel, "prompts").value = 100_000
    panel.offer({"made up": KnownMachine(MODEL, "Made up.")})
    simulated(panel)
    assert "nothing ends within" in words(panel)
    assert "8 ranks: " in " ".join(figure_titles(panel))
    panel.close()
