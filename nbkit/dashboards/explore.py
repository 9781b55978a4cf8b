"""The explore dashboard: move a slider, press Run, see at once what happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import ipywidgets

from nbkit.dashboards.controls import Controls
from nbkit.dashboards.live_view import LiveView
from nbkit.dashboards.run_history import RunHistory
from nbkit.dashboards.workers_control import StatusLine, WorkersControl
from nbkit.errors import JobCancelled
from nbkit.figures import headline
from nbkit.progress import RunProgress
from nbkit.records import Run
from nbkit.settings import Settings
from nbkit.workers import Emitted, Job, Log, Workers

REDRAW_EVERY_S = 0.25


class Explore:
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
        self._workers = WorkersControl(workers)
        self._controls = Controls(Settings.of(**settings), self._workers.slider, prompts)
        self._view = LiveView()
        self._history = RunHistory()
        self._status = StatusLine()
        self._job: Job | None = None
        self._run_button = ipywidgets.Button(description="Run", button_style="primary", icon="play", disabled=True)
        self._stop_button = ipywidgets.Button(description="Stop", button_style="danger", icon="stop", disabled=True)
        self._run_button.on_click(lambda _: self._in_background(self._run))
        self._stop_button.on_click(lambda _: self._stop())
        buttons = ipywidgets.HBox([self._run_button, self._stop_button])
        self.widget = ipywidgets.VBox(
            [self._controls.widget, buttons, self._status, self._view.widget, self._history.widget]
        )
        self._in_background(self._wait_for_workers)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)

    @property
    def runs(self) -> list[Run]:
        return self._history.runs

    def close(self) -> None:
        """Stop what runs, remove the widgets, and end the workers, if they are the dashboard's own."""
        self._stop()
        self._workers.close()
        self.widget.close()

    def _in_background(self, act: Any) -> None:
        self._run_button.disabled = True
        threading.Thread(target=self._act, args=(act,), name="nbkit-explore", daemon=True).start()

    def _act(self, act: Any) -> None:
        try:
            act()
        # Whatever happens belongs on the dashboard: a thread has no cell to show it in.
        except Exception as error:
            self._status.say_error(error)
        finally:
            self._job = None
            self._run_button.disabled = False
            self._stop_button.disabled = True

    def _wait_for_workers(self) -> None:
        self._status.say("Starting the workers: importing torch takes a few seconds.")
        self._workers.show_count()
        self._status.say("Ready. Choose and press Run.")

    def _run(self) -> None:
        settings, prompts = self._controls.settings(), self._controls.prompts()
        self._status.say("Starting.")
        workers = self._workers.get_resized()
        self._job = job = workers.submit_generate(prompts, settings)
        self._stop_button.disabled = False
        progress = RunProgress(settings, len(prompts))
        self._view.begin(workers.world_size, settings)
        self._watch(job, progress)
        try:
            run: Run = job.result()
        except JobCancelled as stopped:
            run = stopped.partial
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
            if time.monotonic() - drawn >= REDRAW_EVERY_S:
                drawn = time.monotonic()
                self._view.show(progress)
                self._status.say(_in_words(progress))

    def _stop(self) -> None:
        if self._job is not None:
            self._stop_button.disabled = True
            self._status.say("Stopping.")
            self._job.cancel()


def _in_words(progress: RunProgress) -> str:
    if not progress.has_begun:
        return "Loading the model."
    return f"{progress.prompts_done} of {progress.prompts} prompts, {progress.tokens} tokens computed."
