"""The scaling dashboard: measure how runs scale, see where the time goes, and ask what more ranks would bring."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import ipywidgets

from nbkit.app.dashboards.parts.dashboard import Dashboard
from nbkit.app.dashboards.parts.kernel_interrupt import stop_at_interrupt
from nbkit.app.dashboards.parts.served import check_may_read, check_may_write
from nbkit.app.dashboards.scaling.known_machines import known_machines
from nbkit.app.dashboards.scaling.roofline_panel import RooflinePanel
from nbkit.app.dashboards.scaling.sweep_controls import SweepControls
from nbkit.app.dashboards.scaling.sweep_results import SweepResults, title
from nbkit.app.dashboards.scaling.what_if_panel import WhatIfPanel
from nbkit.app.durations import duration
from nbkit.errors import NbkitError
from nbkit.inference.workers import Workers
from nbkit.measure.sweep import Grid, Sweep, SweepRunner, SweepStep, resume_or_begin
from nbkit.records.request import Conversation
from nbkit.records.run import Run


class Scaling(Dashboard):
    """Run a sweep on live workers, and look at what came of it; every figure is drawn from the sweep's file.

    Parameters
    ----------
    workers : Workers, optional
        Live workers to use; keep a name for them. Left out: the dashboard has its own,
        which ``close()`` ends.
    sweep : Sweep, optional
        One to begin with: to look at, and to go on with where it is not complete.
    path : str or Path
        Where sweeps are saved after every run. A file that is there is gone on with if it
        asks for the same.

    Attributes
    ----------
    sweep : Sweep or None
        What is shown.
    """

    def __init__(
        self,
        workers: Workers | None = None,
        sweep: Sweep | None = None,
        path: str | Path = "results/sweep.json",
    ) -> None:
        super().__init__(workers)
        self.sweep = sweep
        self._runner: SweepRunner | None = None
        self._controls = SweepControls(sweep)
        self._results = SweepResults()
        self._roofline = RooflinePanel(self._workers.get, self._offer_simulations)
        self._what_if = WhatIfPanel()
        self._path = ipywidgets.Text(
            str(path), description="file", style={"description_width": "40px"}, layout={"width": "300px"}
        )
        self._run_button = _button("Run sweep", "primary", "play", "Measure what the file has not yet")
        self._stop_button = _button("Stop", "danger", "stop", "Stop; what is measured is saved")
        self._load_button = _button("Load", "", "folder-open", "Show the sweep that the file holds")
        self._run_button.on_click(lambda _: self.run())
        self._stop_button.on_click(lambda _: self.stop())
        self._load_button.on_click(lambda _: self.load())
        self._load_button.disabled = False
        self._progress = ipywidgets.FloatProgress(0.0, min=0.0, max=1.0, layout={"width": "160px"})
        self._status.layout.flex = "1 1 300px"
        bar = [self._run_button, self._stop_button, self._path, self._load_button, self._progress, self._status]
        self._lay_out(
            title("Measure"),
            self._controls.widget,
            ipywidgets.HBox(bar, layout={"flex_flow": "row wrap", "align_items": "center"}),
            self._results.widget,
            title("How far from what the hardware can do?"),
            self._roofline.widget,
            title("What would other ranks, prompts and batches bring?"),
            self._what_if.widget,
        )
        self._show()
        self._offer_machines()
        stop_at_interrupt(self)
        self._start_with_workers(self._get_ready)

    @property
    def grid(self) -> Grid:
        """What the controls ask for.

        Raises
        ------
        InputError
            There is no such grid.
        """
        return self._controls.grid()

    def run(self) -> None:
        """Measure what is left, as the Run button does; returns at once, and does nothing while the button is off."""
        self._press(self._run_button, self._run)

    def stop(self) -> None:
        """Stop the run under way, as the Stop button does; what is measured is saved."""
        runner = self._runner
        if runner is not None:
            self._stop_button.disabled = True
            self._status.say("Stopping.")
            runner.stop()

    def load(self) -> None:
        """Show the sweep that the file holds, as the Load button does."""
        try:
            self.sweep = Sweep.load(check_may_read(self._path.value))
        except NbkitError as error:
            self._status.say_error(error)
            return
        self._controls.show(self.sweep)
        self._show()
        self._offer_machines()
        self._status.say(f"Loaded {len(self.sweep.measurements)} runs from {self._path.value}.")

    def close(self) -> None:
        """Stop what runs, remove the widgets, and end the workers if they are the dashboard's own."""
        self.stop()
        self._what_if.close()
        self._roofline.close()
        super().close()

    def _get_ready(self) -> None:
        if self.sweep is None:
            self._controls.suggest(self._workers.slider.value)
        self._run_button.disabled = False
        self._status.say("Ready. Choose and press Run sweep.")

    def _run(self) -> None:
        try:
            grid = self.grid
            self.sweep = self._to_go_on_with(grid, self._controls.prompts())
            self._show()
            workers = self._workers.get_with(max(grid.ranks))
            self._runner = SweepRunner(workers, self.sweep, self._path.value)
            self._stop_button.disabled, self._load_button.disabled = False, True
            for step in self._runner.steps():
                self._show_step(step)
            self._say_end()
        finally:
            self._runner = None
            self._stop_button.disabled = True
            self._run_button.disabled = self._load_button.disabled = False
            self._offer_machines()

    def _to_go_on_with(self, grid: Grid, prompts: Sequence[str | Conversation]) -> Sweep:
        """What is shown, if it asks for the same and no file does; else the file's sweep, or a new one."""
        shown, path = self.sweep, check_may_write(self._path.value)
        if shown is not None and not os.path.exists(path) and (shown.grid, shown.prompts) == (grid, list(prompts)):
            return shown
        return resume_or_begin(path, grid, list(prompts))

    def _show_step(self, step: SweepStep) -> None:
        self.sweep = step.sweep
        self._progress.value = step.done / max(1, step.total)
        left = f", about {duration(step.remaining_s)} left" if step.remaining_s else ""
        self._status.say(f"{step.done} of {step.total} runs{left}. {step.kind.capitalize()}: {step.point.label}.")
        if step.kind in ("measured", "failed"):
            # Not the machines to simulate: simulating would take time from the ranks.
            self._results.show(step.sweep.runs)

    def _say_end(self) -> None:
        assert self.sweep is not None
        left = len(self.sweep.left)
        failures = (
            f" {len(self.sweep.failures)} failed: {self.sweep.failures[-1].message}" if self.sweep.failures else ""
        )
        done = "All runs are measured" if not left else f"Stopped with {left} runs left; Run sweep goes on"
        self._status.say(f"{done}; saved in {self._path.value}.{failures}")

    def _show(self) -> None:
        self._results.show(self._runs)

    def _offer_machines(self) -> None:
        self._roofline.show(self._runs)
        self._offer_simulations()

    def _offer_simulations(self) -> None:
        self._what_if.offer(*known_machines(self._runs))

    @property
    def _runs(self) -> list[Run]:
        return self.sweep.runs if self.sweep is not None else []


def _button(description: str, style: str, icon: str, tooltip: str) -> ipywidgets.Button:
    return ipywidgets.Button(description=description, button_style=style, icon=icon, tooltip=tooltip, disabled=True)
