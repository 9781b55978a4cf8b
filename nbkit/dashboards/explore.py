"""The explore dashboard: move a slider, press Run, see at once what happens."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import ipywidgets

from nbkit.dashboards.controls import Controls
from nbkit.dashboards.dashboard import Dashboard
from nbkit.dashboards.live_view import LiveView
from nbkit.dashboards.run_history import RunHistory
from nbkit.errors import JobCancelled
from nbkit.figures import headline
from nbkit.progress import RunProgress
from nbkit.records import Run
from nbkit.settings import Settings
from nbkit.workers import Emitted, Job, Log, Workers

REDRAW_EVERY_S = 0.25


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
        The runs so far, stopped ones included.
    """

    def __init__(self, workers: Workers | None = None, prompts: Sequence[str] | None = None, **settings: Any) -> None:
        asked = Settings.of(**settings)
        super().__init__(workers, button="Run", ready="Ready. Choose and press Run.")
        self._controls = Controls(asked, self._workers.slider, prompts)
        self._view = LiveView()
        self._history = RunHistory()
        self._job: Job | None = None
        self._stop_button = ipywidgets.Button(description="Stop", button_style="danger", icon="stop", disabled=True)
        self._on_button(self._run)
        self._stop_button.on_click(lambda _: self._stop())
        buttons = ipywidgets.HBox([self._button, self._stop_button])
        self.widget.children = (self._controls.widget, buttons, self._status, self._view.widget, self._history.widget)

    @property
    def runs(self) -> list[Run]:
        return self._history.runs

    def close(self) -> None:
        """Stop what runs, remove the widgets, and end the workers if they are the dashboard's own."""
        self._stop()
        super().close()

    def _run(self) -> None:
        settings, prompts = self._controls.settings(), self._controls.prompts()
        self._status.say("Starting.")
        workers = self._workers.get_resized()
        self._job = job = workers.submit_generate(prompts, settings)
        self._stop_button.disabled = False
        try:
            self._view.begin(workers.world_size, settings)
            self._status.say("Loading the model.")
            self._watch(job, RunProgress(settings, len(prompts)))
            run: Run = job.result()
        except JobCancelled as stopped:
            run = stopped.partial
        finally:
            self._job = None
            self._stop_button.disabled = True
        self._view.finish(run)
        self._history.add(run)
        self._status.say(headline(run))

    def _watch(self, job: Job, progress: RunProgress) -> None:
        """Take every event as it comes, and redraw a few times a second."""
        drawn = 0.0
        for event in job.events(timeout=REDRAW_EVERY_S):
            if isinstance(event, Log):
                self._status.say(event.labelled)
            elif isinstance(event, Emitted):
                progress.take(event.rank, event.value)
            if progress.has_begun and time.monotonic() - drawn >= REDRAW_EVERY_S:
                drawn = time.monotonic()
                self._view.show(progress)
                self._status.say(
                    f"{progress.prompts_done} of {progress.prompts} prompts, {progress.tokens} tokens computed."
                )

    def _stop(self) -> None:
        if self._job is not None:
            self._stop_button.disabled = True
            self._status.say("Stopping.")
            self._job.cancel()
