from __future__ import annotations

import pytest

from nbkit.app.dashboards.parts import cells


class Dashboard:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1
        cells.forget(self)


@pytest.fixture
def running(monkeypatch):
    """Say which cell runs, and which execution of it this is."""
    monkeypatch.setattr(cells, "_made", {})
    now = {"cell": "a", "execution": "1"}
    monkeypatch.setattr(cells, "_running_cell", lambda: (now["cell"], now["execution"]))
    return now


def made() -> Dashboard:
    dashboard = Dashboard()
    cells.replace_earlier(dashboard)
    return dashboard


def test_a_cell_run_again_closes_what_it_made_before(running):
    first = made()
    running["execution"] = "2"
    second = made()
    assert (first.closed, second.closed) == (1, 0)


def test_two_dashboards_of_one_execution_live_side_by_side(running):
    first, second = made(), made()
    assert (first.closed, second.closed) == (0, 0)
    running["execution"] = "2"
    made()
    assert (first.closed, second.closed) == (1, 1)


def test_other_cells_are_left_alone(running):
    first = made()
    running.update(cell="b", execution="2")
    made()
    assert first.closed == 0


def test_a_dashboard_that_was_closed_is_forgotten(running):
    first = made()
    first.close()
    assert cells._made == {}
    running["execution"] = "2"
    made()
    assert first.closed == 1


def test_outside_a_notebook_nothing_is_replaced(running):
    running["cell"] = None
    first = made()
    made()
    assert first.closed == 0
    assert cells._made == {}


def test_without_ipython_there_is_no_cell():
    assert cells._running_cell() == (None, "")
