"""The explore dashboard: move a slider, and see at once what happens."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence
from typing import Any

import ipywidgets

from nbkit.app.dashboards.explore.controls import Controls
from nbkit.app.dashboards.explore.curve_panel import CurvePanel
from nbkit.app.dashboards.explore.live_view import LiveView
from nbkit.app.dashboards.explore.prompts_panel import PromptsPanel
from nbkit.app.dashboards.explore.run_history import RunHistory
from nbkit.app.dashboards.parts.dashboard import Dashboard
from nbkit.app.dashboards.parts.kernel_interrupt import stop_at_interrupt
from nbkit.errors import JobCancelled, NbkitError
from nbkit.figures import headline_with_note
from nbkit.inference.progress import RunProgress, follow
from nbkit.inference.workers import Workers
from nbkit.measure.load import Monitor
from nbkit.records.request import Conversation, PromptLike
from nbkit.records.run import Run
from nbkit.records.settings import Settings
from nbkit.runtime import Job, Log

REDRAW_EVERY_S = 0.25
REDRAW_SHARE = 0.04
"""The most of one core that redrawing may take: a slow drawing is done less often."""
LIVE_PAUSE_S = 0.15
"""Live mode waits so long for the next change before it runs: arrow keys come in bursts."""


class Explore(Dashboard):
    """Generate with any settings on live workers, watch it, and compare the runs so far.

    Parameters
    ----------
    workers : Workers, optional
        Live workers to use; keep a name for them. Left out: the dashboard has its own,
        which ``close()`` ends.
    prompts : sequence of str, optional
        Prompts to begin with; left out, the ten first lines, repeated as the control asks.
    **settings
        Values the controls begin with, by the names of ``Settings``.

    Attributes
    ----------
    runs : list of Run
        The runs so far, stopped ones included; of those that are not pinned, the newest 20.
    """

    def __init__(
        self, workers: Workers | None = None, prompts: Sequence[PromptLike] | None = None, **settings: Any
    ) -> None:
        asked = Settings.of(**settings)
        super().__init__(workers)
        self._controls = Controls(asked, self._workers.slider, self._on_change)
        self._prompts = PromptsPanel(prompts, self._controls.model, self._on_change)
        self._controls.on_model(lambda: self._prompts.show_lengths_of(self._controls.model))
        self._view = LiveView()
        self._curve = CurvePanel(self.show)
        self._history = RunHistory(self._show_dots, self.show)
        self._shown: Run | None = None
        self._caption = ipywidgets.HTML()
        self._monitor: Monitor | None = None
        self._job: Job | None = None
        self._run_button = ipywidgets.Button(description="Run", button_style="primary", icon="play", disabled=True)
        self._stop_button = ipywidgets.Button(description="Stop", button_style="danger", icon="stop", disabled=True)
        self._live = ipywidgets.ToggleButton(
            description="Live", icon="bolt", tooltip="Run again whenever a control changes"
        )
        self._run_button.on_click(lambda _: self.run())
        self._stop_button.on_click(lambda _: self.stop())
        self._live.observe(lambda _: self._on_live(), "value")
        buttons = [self._run_button, self._stop_button, self._live]
        for button in buttons:
            button.layout = {"flex": "1 1 60px", "width": "auto", "min_width": "0"}
        # Slider and curve on one screen: a narrow column beside the figure, above it where there is no room.
        column = ipywidgets.VBox(
            [self._controls.first, ipywidgets.HBox(buttons), self._status],
            layout={"flex": "1 1 300px", "max_width": "max(310px, 34%)"},
        )
        column.add_class("nbkit-column")
        curve = ipywidgets.VBox([self._curve.widget, self._caption], layout={"flex": "9 1 400px", "min_width": "0"})
        self._lay_out(
            ipywidgets.HBox([column, curve], layout={"flex_flow": "row wrap", "grid_gap": "4px 14px"}),
            self._controls.more.widget,
            self._prompts.widget,
            self._view.widget,
            self._history.widget,
        )
        stop_at_interrupt(self)
        self._start_with_workers(self._get_ready)

    @property
    def runs(self) -> list[Run]:
        return self._history.runs

    @property
    def settings(self) -> Settings:
        """What the controls ask for.

        Raises
        ------
        InputError
            There is no such setting.
        """
        return self._controls.settings()

    def run(self) -> None:
        """Generate, as the Run button does; returns at once, and does nothing while the button is off."""
        self._press(self._run_button, self._run)

    def stop(self) -> None:
        """Stop what runs or waits, as the Stop button does; finished outputs are kept."""
        self._stop("Stopping.")

    def show(self, run: Run) -> None:
        """Show one of the runs so far again, as a click on its dot does; not while another goes on."""
        if self.is_busy:
            self._say_shown("Another run can be shown when what goes on has ended: choose it again then.")
            return
        self._view.show_again(run)
        self._show_as_shown(run)

    def close(self) -> None:
        """Stop what runs, remove the widgets, and end the workers if they are the dashboard's own."""
        self._stop("Closed.")
        self._prompts.close()
        super().close()
        if self._monitor is not None:
            self._monitor.close()

    def _get_ready(self) -> None:
        self._run_button.disabled = False
        self._status.say("Ready. Choose and press Run.")

    def _on_change(self) -> None:
        """A control has changed: in live mode, what runs and what is shown is outdated."""
        if not self._live.value:
            return
        self._view.show_as_outdated()
        self._status.say("Changed: running again.")
        self._background.request(self._run, after_s=LIVE_PAUSE_S)
        if self._job is not None:
            self._job.cancel()

    def _on_live(self) -> None:
        if self._live.value:
            self._on_change()

    def _run(self) -> None:
        self._run_button.disabled = True
        try:
            settings, prompts = self.settings, self._prompts.prompts()
            workers = self._workers.get_resized()
            if not workers.is_ready:
                self._status.say("Starting the workers.")
                workers.wait_until_ready()
            self._watch_load(workers)
            self._generate(workers, prompts, settings)
        finally:
            self._job = None
            self._curve.end()
            if self._shown is None:
                self._say_shown("Below: a run that left no output.")
            self._stop_button.disabled = True
            self._run_button.disabled = False

    def _watch_load(self, workers: Workers) -> None:
        if self._monitor is None:
            self._monitor = Monitor()
        self._monitor.watch(workers)

    def _generate(self, workers: Workers, prompts: list[str | Conversation], settings: Settings) -> None:
        self._job = job = workers.submit_generate(prompts, settings)
        self._stop_button.disabled = False
        self._view.begin(range(workers.world_size), settings)
        self._shown = None
        self._say_shown("Below: the run that goes on.")
        self._curve.begin(settings)
        try:
            self._follow(job, RunProgress(settings, len(prompts)), prompts)
            run: Run = job.result()
        except JobCancelled as stopped:
            if self._background.is_outdated:
                return  # nobody asked for this any more: it is neither shown nor kept
            run = stopped.partial
        except NbkitError as error:
            # Dimmed: what it shows did not come to its end.
            self._view.show_as_outdated()
            self._finish(job.partial(), job, failure=str(error))
            raise
        self._finish(run, job)
        self._status.say(headline_with_note(run))

    def _finish(self, run: Run, job: Job, failure: str = "") -> None:
        """Show and keep what there is of a run; of one that ended before any output, how it ended."""
        if run.finished_prompts or run.is_complete:
            assert self._monitor is not None
            run = self._monitor.attach(run, job)
            self._view.finish(run, failure)
            self._shown = run
            self._history.add(run, failure)
            self._show_as_shown(run)
        else:
            self._view.show_ending(run, failure)

    def _show_as_shown(self, run: Run) -> None:
        self._shown = run
        self._say_shown(f"Below: {self._history.name_of(run) or 'a run'}.")
        self._show_dots()

    def _show_dots(self) -> None:
        self._curve.show(self.runs, self._shown)

    def _say_shown(self, text: str) -> None:
        self._caption.value = f"<div class='nbkit-caption' dir='auto'>{html.escape(text)}</div>"

    def _follow(self, job: Job, progress: RunProgress, prompts: list[str | Conversation]) -> None:
        """Take every event as it comes; redraw at the first tokens, and then a few times a second."""
        next_drawing_s, had_tokens = 0.0, False
        for told in follow(job, progress, REDRAW_EVERY_S):
            if isinstance(told, Log):
                self._status.say(told.labelled)
            is_first = not had_tokens and progress.tokens > 0
            had_tokens = had_tokens or is_first
            if is_first or time.monotonic() >= next_drawing_s:
                began_s = time.thread_time()
                self._draw(job, progress, prompts)
                drawing_s = time.thread_time() - began_s
                next_drawing_s = time.monotonic() + max(REDRAW_EVERY_S, drawing_s / REDRAW_SHARE)
        self._draw(job, progress, prompts)

    def _draw(self, job: Job, progress: RunProgress, prompts: list[str | Conversation]) -> None:
        if self._background.is_outdated:
            return
        if progress.has_begun:
            assert self._monitor is not None
            self._view.show(progress, prompts, self._monitor.during(job))
            self._curve.show_running(progress)
            self._status.say(
                f"{progress.prompts_done} of {progress.prompts} prompts, {progress.tokens} tokens computed."
            )
        elif job.status == "queued":
            self._status.say("Waiting: the workers are busy with another job.")
        elif progress.preparing:
            self._status.say(f"{progress.preparing.capitalize()}.")
        else:
            self._status.say("Loading the model.")

    def _stop(self, say: str) -> None:
        self._live.value = False
        self._background.drop_waiting()
        if self._job is not None:
            self._stop_button.disabled = True
            self._status.say(say)
            self._job.cancel()
