from __future__ import annotations

import pytest
from timelines import timeline

from nbkit.analysis.scaling import points_by_series
from nbkit.errors import InputError
from nbkit.figures.html.sweep_report import sweep_figures, with_several_ranks, write_sweep_report
from nbkit.measure.sweep import Grid, Measurement, Sweep
from nbkit.records.settings import Settings


@pytest.fixture
def sweep():
    grid = Grid(ranks=(1, 2), batch_sizes=(4, 16), splits=("static", "dynamic"), repeats=2, base=Settings())
    measured = [
        Measurement(point, repeat, timeline([8] * 30, [20] * 30, point.ranks, **_settings(point)))
        for point, repeat in grid.plan()
    ]
    return Sweep(grid, [f"prompt {i}" for i in range(30)], measured)


def _settings(point):
    return {"batch_size": point.settings.batch_size, "split": point.settings.split}


def test_the_file_gives_every_figure_that_the_sweep_gave(sweep, tmp_path):
    again = Sweep.load(sweep.save(tmp_path / "sweep.json"))
    before, after = (sweep_figures(each.runs) for each in (sweep, again))
    assert list(before) == list(after)
    assert {name: figure.to_json() for name, figure in before.items()} == {
        name: figure.to_json() for name, figure in after.items()
    }
    # Speed-up, efficiency, two of lost time for each of four series, a heat map for each split, pace.
    assert len(before) == 2 + 2 * 4 + 2 + 1


def test_the_page_has_every_figure_and_the_table(sweep, tmp_path):
    page = write_sweep_report(sweep, tmp_path / "sweep.html").read_text()
    assert page.count("plotly-graph-div") >= len(sweep_figures(sweep.runs))
    assert "2 ranks are" in page
    assert "tokens/s" in page


def test_a_sweep_that_has_measured_nothing_has_no_report(sweep, tmp_path):
    empty = Sweep(sweep.grid, sweep.prompts)
    assert sweep_figures([])
    with pytest.raises(InputError, match="nothing of this sweep is measured yet"):
        write_sweep_report(empty, tmp_path / "sweep.html")
    assert not (tmp_path / "sweep.html").exists()


def test_scaling_needs_several_ranks(sweep):
    alone = [run for run in sweep.runs if run.world_size == 1]
    assert with_several_ranks(points_by_series(alone)) == {}
    assert len(with_several_ranks(points_by_series(sweep.runs))) == 4
